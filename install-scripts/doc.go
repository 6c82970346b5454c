// Package installscripts renders the scripts that make a machine a node.
//
// The script for Docker on Linux is dagent/linux.sh.tmpl with two fixed parts,
// look.sh (finds out, changes nothing) and act.sh (changes); how archives are
// fetched and checked is shell/archive.sh, in both shell scripts. It runs in any
// POSIX shell and needs docker, curl or wget, and what coreutils or busybox
// bring.
//
// # Trust
//
// The pasted command pins the script's SHA-256 ([Command]); the script pins the
// agent archive's SHA-256 and size and the controller's release key. The
// archive is run only when its digest is right and, on machines whose openssl
// can verify Ed25519 (OpenSSL 3), when the release key signed it as well. A
// machine without OpenSSL 3 installs on the digest alone and says so: the chain
// from the pasted command to the archive is already complete there, and refusing
// would lock out busybox systems and older distributions without making
// anything safer. A signature that is there and wrong always stops the script.
//
// What is signed is not the archive but the [Artifact.Statement] about it,
// which also binds path, version and size, so that a signature cannot be moved
// to another version. The controller serves it at the archive's path + ".sig".
//
// The one-time token is inside the script and goes into a file on the node, of
// mode 0600. It is on no command line, in no URL and in no environment.
//
// # What the script and the agent expect of each other
//
// The agent runs as a container on the host's network with the Docker socket at
// /var/run/docker.sock and the state folder (Params.RootPath) mounted at the
// same path, which FAIRLEAD_STATE_DIR names. In that folder:
//
//	enrol.json   script → agent: controller (host:port), rootSha256, token,
//	             nodeName. Read once, then deleted by the agent.
//	identity     the agent's key and certificate (file or folder). While it
//	             exists the node is enrolled and no token is handed over, unless
//	             --enrol-again moves it aside.
//	enrolled     agent → script: made once the controller has accepted the
//	             identity, at best at every start. The script removes it before
//	             a start; an agent that kept its identity may also just run.
//	enrol-error  agent → script: one text that says why enrolment was refused.
//	revoked      agent → script: the identity is of no use any more.
//	release-keys script → agent: what builds of the agent must be signed by,
//	             written by every run; the agent adds keys that these signed.
//	update.json  the agent's own, while it replaces itself: the new container is
//	             <name>-next until then. A run of the script ends that.
//	install      the script's own note of which node this folder belongs to.
//	install.sh   the script without its token, to uninstall or repair with.
//	bin          with --service: programs, dagent.<build>, and dagent, a link to the
//	             one that the service manager starts. An update's is called after it.
//	service.env  with --service: the agent's variables.
//
// Uninstalling removes these, the agent's other files by name (see
// uninstall_agent in dagent/linux.sh.tmpl) and nothing else: volumes of deployed
// containers may live in the same folder.
package installscripts
