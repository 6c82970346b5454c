package outbox

import agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"

// Restart drops the statuses that wait to be cut: their generations were
// counted in a database that another one has replaced, and would hide those
// that come now.
func (o *Outbox) Restart() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.statuses = map[string]*agentv1.DeploymentStatus{}
	o.order = nil
}
