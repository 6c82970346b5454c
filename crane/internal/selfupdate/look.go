package selfupdate

import (
	"context"
	"fmt"
	"strings"
	"unicode"

	corev1 "k8s.io/api/core/v1"

	"fairlead.dev/shared/agentrt"
	"fairlead.dev/shared/apperr"
)

const (
	// lastLines, and at most maxWords bytes, are shown of what a pod said.
	lastLines = 5
	maxWords  = 2000
)

// Look tells how the candidate does.
func (r *Replacer) Look(ctx context.Context, id string) (agentrt.Look, error) {
	pod, err := r.candidate(ctx, id)
	if err != nil {
		return agentrt.Look{}, err
	}
	if pod == nil {
		return agentrt.Look{Words: "its pod is gone"}, nil
	}
	seen := look(*pod)
	if proven, version, err := r.Proof(ctx); err == nil && proven == id {
		seen.Proven = version
	}
	if seen.Alive {
		if said := r.lastWords(ctx, pod.Name); said != "" {
			seen.Words += "; it said last: " + said
		}
	}
	return seen, nil
}

// candidate returns the youngest pod of an update; nil when there is none.
func (r *Replacer) candidate(ctx context.Context, id string) (*corev1.Pod, error) {
	pods, err := r.pods(ctx)
	if err != nil {
		return nil, err
	}
	return youngest(pods, id), nil
}

func youngest(pods []corev1.Pod, id string) (found *corev1.Pod) {
	for i, p := range pods {
		if updateOf(p.Spec) == id && (found == nil || found.CreationTimestamp.Before(&p.CreationTimestamp)) {
			found = &pods[i]
		}
	}
	return found
}

// look tells how a pod does.
func look(pod corev1.Pod) agentrt.Look {
	seen := agentrt.Look{Words: "its pod " + pod.Name}
	state := statusOf(pod)
	if state == nil {
		seen.Alive = pod.Status.Phase == corev1.PodPending || pod.Status.Phase == corev1.PodRunning || pod.Status.Phase == ""
		seen.Words += " is " + strings.ToLower(string(pod.Status.Phase))
		for _, c := range pod.Status.Conditions {
			if c.Type == corev1.PodScheduled && c.Status != corev1.ConditionTrue && c.Message != "" {
				seen.Words += ", on no node: " + oneLine(c.Message)
			}
		}
		return seen
	}
	seen.Restarts = int(state.RestartCount)
	ended := state.State.Terminated
	if ended == nil {
		ended = state.LastTerminationState.Terminated
	}
	switch waiting := state.State.Waiting; {
	case state.State.Running != nil:
		seen.Alive = true
		seen.Words += " runs"
	case waiting != nil:
		seen.Alive = !refuses(waiting.Reason) && waiting.Reason != "CrashLoopBackOff"
		seen.Words += " waits: " + waiting.Reason
		if waiting.Message != "" && ended == nil {
			seen.Words += ", " + oneLine(waiting.Message)
		}
	default:
		seen.Alive = true // Kubernetes starts it again
		seen.Words += " ended"
	}
	if ended != nil {
		seen.Words += fmt.Sprintf(", exit code %d", ended.ExitCode)
		if said := plain(ended.Message); said != "" {
			seen.Words += "; it said last: " + said
		}
	}
	return seen
}

func statusOf(pod corev1.Pod) *corev1.ContainerStatus {
	for i, s := range pod.Status.ContainerStatuses {
		if s.Name == containerName {
			return &pod.Status.ContainerStatuses[i]
		}
	}
	return nil
}

// refuses reports whether for that reason no container is made of an image. A first
// failure to get it is not among them: it may be got at once again.
func refuses(reason string) bool {
	switch reason {
	case "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError", "CreateContainerConfigError", "CreateContainerError":
		return true
	default:
		return false
	}
}

// awaitRunning waits until a container of the candidate was started, so that the
// time it needs to come to its node is not taken from that it has to prove itself.
func (r *Replacer) awaitRunning(ctx context.Context, b agentrt.Build, image build, reference string) error {
	return r.awaitPods(ctx, func(pods []corev1.Pod) error {
		pod := youngest(pods, b.ID)
		if pod == nil {
			return apperr.New(apperr.Unavailable, "the Deployment made no pod of it")
		}
		state := statusOf(*pod)
		switch {
		case state == nil:
			return apperr.New(apperr.Unavailable, "%s", look(*pod).Words)
		case state.State.Waiting != nil && refuses(state.State.Waiting.Reason):
			return apperr.New(apperr.Precondition, "the cluster's nodes cannot run the image %s: %s: %s; %s",
				reference, state.State.Waiting.Reason, oneLine(state.State.Waiting.Message), image.howToGet(reference))
		case state.ImageID == "":
			return apperr.New(apperr.Unavailable, "%s", look(*pod).Words)
		case !image.isIn(state.ImageID):
			return apperr.New(apperr.Forbidden, "a node of the cluster calls another image %s than the one that was signed: it runs %s", reference, state.ImageID)
		default:
			return nil
		}
	})
}

// lastWords returns the end of a pod's log.
func (r *Replacer) lastWords(ctx context.Context, pod string) string {
	lines, limit := int64(lastLines), int64(maxWords)
	text, err := r.Client.CoreV1().Pods(r.Namespace).GetLogs(pod, &corev1.PodLogOptions{
		Container: containerName, TailLines: &lines, LimitBytes: &limit,
	}).DoRaw(ctx)
	if err != nil {
		return ""
	}
	return plain(string(text))
}

// plain returns the last lines of a text on one, without what could play with a
// terminal.
func plain(text string) string {
	printable := strings.Map(func(c rune) rune {
		if c == '\n' || unicode.IsPrint(c) {
			return c
		}
		return -1
	}, text)
	lines := strings.FieldsFunc(printable, func(c rune) bool { return c == '\n' })
	return strings.Join(lines[max(0, len(lines)-lastLines):], " | ")
}
