//go:build linux

package kubetest

import "path/filepath"

// startAPI starts etcd and the API server, which waits for it.
func (p programs) startAPI(c *credentials) error {
	if err := p.configure(map[string]string{"audit.yaml": auditPolicy}); err != nil {
		return err
	}
	if err := p.start("etcd", "--data-dir="+p.dir+"/etcd"); err != nil {
		return err
	}
	return p.start("kube-apiserver",
		"--etcd-servers=http://127.0.0.1:2379",
		"--bind-address="+NodeIP, "--advertise-address="+NodeIP, "--secure-port="+apiPort,
		"--client-ca-file="+c.path("ca.crt"),
		"--tls-cert-file="+c.path("apiserver.crt"), "--tls-private-key-file="+c.path("apiserver.key"),
		"--service-account-key-file="+c.path("accounts.key"), "--service-account-signing-key-file="+c.path("accounts.key"),
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-cluster-ip-range="+serviceCIDR,
		"--audit-policy-file="+filepath.Join(p.dir, "audit.yaml"), "--audit-log-path="+auditLog(p.dir),
		"--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction", "--allow-privileged=true",
		"--kubelet-client-certificate="+c.path("apiserver-kubelet.crt"), "--kubelet-client-key="+c.path("apiserver-kubelet.key"),
		"--kubelet-certificate-authority="+c.path("ca.crt"), "--kubelet-preferred-address-types=InternalIP",
		"--requestheader-client-ca-file="+c.path("ca.crt"), "--requestheader-allowed-names=front-proxy",
		"--requestheader-username-headers=X-Remote-User", "--requestheader-group-headers=X-Remote-Group",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--proxy-client-cert-file="+c.path("front-proxy.crt"), "--proxy-client-key-file="+c.path("front-proxy.key"),
	)
}

// startControllers starts the controllers and the scheduler, which give up
// when the API server does not answer soon.
func (p programs) startControllers(c *credentials) error {
	if err := p.start("kube-controller-manager",
		"--kubeconfig="+c.path("controller-manager.kubeconfig"),
		"--authentication-kubeconfig="+c.path("controller-manager.kubeconfig"),
		"--authorization-kubeconfig="+c.path("controller-manager.kubeconfig"),
		"--root-ca-file="+c.path("ca.crt"), "--service-account-private-key-file="+c.path("accounts.key"),
		"--cluster-signing-cert-file="+c.path("ca.crt"), "--cluster-signing-key-file="+c.path("ca.key"),
		"--client-ca-file="+c.path("ca.crt"), "--requestheader-client-ca-file="+c.path("ca.crt"),
		// A hundred deployments at once are no reason to wait.
		"--kube-api-qps=500", "--kube-api-burst=1000", "--concurrent-deployment-syncs=10", "--concurrent-replicaset-syncs=10",
		"--use-service-account-credentials", "--leader-elect=false", "--enable-hostpath-provisioner",
		"--cert-dir="+p.dir+"/controller-manager",
	); err != nil {
		return err
	}
	return p.start("kube-scheduler",
		"--kubeconfig="+c.path("scheduler.kubeconfig"),
		"--authentication-kubeconfig="+c.path("scheduler.kubeconfig"),
		"--authorization-kubeconfig="+c.path("scheduler.kubeconfig"),
		"--client-ca-file="+c.path("ca.crt"), "--requestheader-client-ca-file="+c.path("ca.crt"),
		"--leader-elect=false", "--cert-dir="+p.dir+"/scheduler", "--kube-api-qps=500", "--kube-api-burst=1000",
	)
}
