package docker

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/mount"

	"fairlead.dev/dagent/internal/secretfile"
	"fairlead.dev/shared/apperr"
	"fairlead.dev/shared/spec"
)

// labelSecretFiles is the id of the container's files of secrets.
const labelSecretFiles = labelPrefix + "secret-files"

// securityRootless is how an engine says that it runs without root.
const securityRootless = "name=rootless"

// secretFiles returns the contents of the secrets that are files, by their
// names.
func secretFiles(c spec.Container) map[string]string {
	var files map[string]string
	for _, s := range c.Secrets {
		if name, ok := s.File(); ok && s.Value != "" {
			if files == nil {
				files = map[string]string{}
			}
			files[name] = s.Value
		}
	}
	return files
}

// placeSecrets has the files of a container's secrets ready and mounts them. The
// lock that it returns keeps them until the container is made: without it, or
// without the container, they are in nobody's use and may be removed.
func (d *Driver) placeSecrets(ctx context.Context, b *blueprint, w spec.Workload) (unlock func(), err error) {
	if len(b.secrets) == 0 {
		return func() {}, nil
	}
	uid, gid, err := d.userOf(ctx, b.config)
	if err != nil {
		return nil, err
	}
	info, err := d.engine.Info(ctx)
	if err != nil {
		return nil, engineError(err, "ask the docker engine about itself")
	}
	if slices.Contains(info.SecurityOptions, "name=userns") {
		return nil, apperr.New(apperr.Unsupported, "secrets: this engine runs containers as other users than they see (userns-remap), and can't have secrets as files")
	}
	if slices.Contains(info.SecurityOptions, securityRootless) {
		return nil, apperr.New(apperr.Unsupported, "secrets: this engine runs without root, so containers run as other users than they see, and can't have secrets as files")
	}
	id := secretsID(b, w, uid, gid)
	d.secretsInUse.RLock()
	if err := d.options.Secrets.Put(id, secretfile.Set{UID: uid, GID: gid, Files: b.secrets}); err != nil {
		d.secretsInUse.RUnlock()
		return nil, err
	}
	b.secretFolder = d.options.Secrets.Folder(id)
	b.config.Labels[labelSecretFiles] = id
	b.host.Mounts = append(b.host.Mounts, mount.Mount{
		Type: mount.TypeBind, Source: b.secretFolder, Target: spec.SecretFolder, ReadOnly: true,
	})
	return d.secretsInUse.RUnlock, nil
}

// secretsID tells files apart that differ in anything: containers share them
// only when they are of one workload and of one content.
func secretsID(b *blueprint, w spec.Workload, uid, gid int) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %q %d %d", b.config.Labels[labelNamespace], w.Name(), w.Hash, uid, gid))
	return hex.EncodeToString(sum[:16])
}

// userOf returns the ids that a container's main process runs as.
func (d *Driver) userOf(ctx context.Context, config *container.Config) (uid, gid int, err error) {
	user := config.User
	if user == "" {
		image, err := d.engine.ImageInspect(ctx, config.Image)
		if err != nil {
			return 0, 0, engineError(err, "look at image %s", config.Image)
		}
		if image.Config != nil {
			user = image.Config.User
		}
	}
	name, group, _ := strings.Cut(user, ":")
	if name == "" || name == "root" {
		name = "0"
	}
	if uid, err = strconv.Atoi(name); err != nil {
		return 0, 0, apperr.New(apperr.Precondition,
			"secrets: the image runs as %q, and only the number of a user can be given files; say it in the key user", user)
	}
	gid, _ = strconv.Atoi(group) // a group by name reads nothing here, and needs not
	return uid, gid, nil
}

// refuseSecretFiles refuses files where the node has no place for them.
func (d *Driver) refuseSecretFiles(c spec.Container, p *problems) {
	for i, s := range c.Secrets {
		if _, file := s.File(); file && d.options.Secrets == nil {
			p.unsupported(fmt.Sprintf("secrets[%d].key", i), "secrets as files need a folder in memory, which the agent is told with secrets-dir")
		}
	}
}

// dropSecrets removes the files of secrets that no container has mounted.
func (d *Driver) dropSecrets(ctx context.Context) error {
	if d.options.Secrets == nil {
		return nil
	}
	d.secretsInUse.Lock()
	defer d.secretsInUse.Unlock()
	all, err := d.engine.ContainerList(ctx, container.ListOptions{All: true, Filters: filters.NewArgs(filters.Arg("label", labelSecretFiles))})
	if err != nil {
		return engineError(err, "list the containers that have secret files")
	}
	var used []string
	for _, c := range all {
		used = append(used, c.Labels[labelSecretFiles])
	}
	return d.options.Secrets.Keep(used)
}

// restoreSecrets makes the files again that a restart of the host has taken
// away.
func (d *Driver) restoreSecrets() {
	if d.options.Secrets == nil {
		return
	}
	if err := d.options.Secrets.Restore(); err != nil {
		d.options.Logger.Error("secret files can't be made again; deploy what needs them anew", "error", err)
	}
}

// startForsaken starts the containers that the engine could not start, after a
// restart of the host, because their secret files were not there yet.
func (d *Driver) startForsaken(ctx context.Context) {
	if d.options.Secrets == nil {
		return
	}
	all, err := d.engine.ContainerList(ctx, container.ListOptions{All: true, Filters: filters.NewArgs(
		filters.Arg("label", labelSecretFiles), filters.Arg("label", labelManaged+"=true"), filters.Arg("status", "exited"), filters.Arg("status", "created"),
	)})
	if err != nil {
		d.options.Logger.Error("look for containers that wait for secret files", "error", err)
		return
	}
	for _, c := range all {
		if c.Labels[labelHook] != "" {
			continue // runs once, and when its release has it run
		}
		seen, err := d.engine.ContainerInspect(ctx, c.ID)
		// The engine's words name the folder it did not find.
		if err != nil || seen.State == nil || !strings.Contains(seen.State.Error, d.options.Secrets.Folder(c.Labels[labelSecretFiles])) {
			continue
		}
		if err := d.engine.ContainerStart(ctx, c.ID, container.StartOptions{}); err != nil {
			d.options.Logger.Error("start a container again whose secret files were gone", "container", engineName(c), "error", err)
			continue
		}
		d.options.Logger.Info("started a container again whose secret files were gone", "container", engineName(c))
	}
}
