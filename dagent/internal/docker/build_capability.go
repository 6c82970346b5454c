package docker

import (
	"fmt"
	"slices"
	"strings"

	"github.com/docker/docker/api/types/container"

	"fairlead.dev/shared/spec"
)

const allCapabilities = "ALL"

// ordinaryCapabilities are those that the engine gives to every container.
func ordinaryCapabilities() []string {
	return []string{
		"AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "NET_RAW",
		"SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT",
	}
}

// otherCapabilities are the rest of the kernel's.
func otherCapabilities() []string {
	return []string{
		"AUDIT_CONTROL", "AUDIT_READ", "BLOCK_SUSPEND", "BPF", "CHECKPOINT_RESTORE", "DAC_READ_SEARCH", "IPC_LOCK", "IPC_OWNER",
		"LEASE", "LINUX_IMMUTABLE", "MAC_ADMIN", "MAC_OVERRIDE", "NET_ADMIN", "NET_BROADCAST", "PERFMON", "SYS_ADMIN", "SYS_BOOT",
		"SYS_MODULE", "SYS_NICE", "SYS_PACCT", "SYS_PTRACE", "SYS_RAWIO", "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "SYSLOG", "WAKE_ALARM",
	}
}

// capability is the one spelling of a capability's name.
func capability(name string) string {
	return strings.TrimPrefix(strings.ToUpper(strings.TrimSpace(name)), "CAP_")
}

func isCapability(name string) bool {
	name = capability(name)
	return name == allCapabilities || slices.Contains(ordinaryCapabilities(), name) || slices.Contains(otherCapabilities(), name)
}

// CheckCapabilities fails when one of the names is not that of a capability, in
// any spelling, or ALL.
func CheckCapabilities(names []string) error {
	for _, name := range names {
		if !isCapability(name) {
			return fmt.Errorf("%q is not a capability such as NET_ADMIN, or ALL", name)
		}
	}
	return nil
}

// capabilities gives and takes capabilities: the key is a capability's name, with
// or without CAP_, or ALL; the value "add" or nothing gives it, "drop" takes it.
func capabilities(host *container.HostConfig, list []spec.KeyValue, p *problems) {
	for i, kv := range list {
		name := capability(kv.Key)
		if !isCapability(name) {
			p.invalid(fmt.Sprintf("capabilities[%d].key", i), "%q is not a capability such as NET_ADMIN, or ALL", kv.Key)
			continue
		}
		switch strings.ToLower(kv.Value) {
		case "", "add", "true":
			host.CapAdd = append(host.CapAdd, name)
		case "drop", "false":
			host.CapDrop = append(host.CapDrop, name)
		default:
			p.invalid(fmt.Sprintf("capabilities[%d].value", i), "%q is neither add nor drop", kv.Value)
		}
	}
	for _, name := range host.CapAdd {
		if slices.Contains(host.CapDrop, name) {
			p.invalid("capabilities", "%s is both added and dropped", name)
		}
	}
}
