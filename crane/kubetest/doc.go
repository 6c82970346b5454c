// Package kubetest gives a package's tests a real Kubernetes cluster: control
// plane, kubelet, kube-proxy and containerd, with real pods, on one machine.
//
// The cluster lives in namespaces of its own (mounts, processes, network), so
// it sees nothing of the machine's network, two of them run side by side, and
// the kernel takes all of it away when the tests end, panic, or are killed.
//
//	func TestMain(m *testing.M) { os.Exit(kubetest.Main(m)) }
//
//	func TestIt(t *testing.T) {
//		cluster := kubetest.Running(t)
//		...
//	}
//
// It needs root, containerd and runc, and the programs of the cluster, which
// `make kube-build` builds. What is missing it names, and fails.
package kubetest
