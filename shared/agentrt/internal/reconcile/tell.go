package reconcile

import "fairlead.dev/shared/workload"

// Tell tells of something that happened under a prefix while nobody worked on
// it, as part of the story of what is assigned to it. Of a prefix without an
// assignment there is nobody to tell.
func (r *Reconciler) Tell(prefix string, e workload.Event) {
	r.mu.Lock()
	var t Target
	l, known := r.loops[prefix]
	if known {
		t = l.want
	}
	r.mu.Unlock()
	if known {
		r.tell(t, e)
	}
}
