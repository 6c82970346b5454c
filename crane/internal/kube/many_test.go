//go:build linux

package kube_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"fairlead.dev/crane/internal/kube"
	"fairlead.dev/crane/kubetest"
)

// counted remembers what was asked of the API server, but for watches, and
// whether it is there, which is asked three times a minute at most.
type counted struct {
	mu  sync.Mutex
	all []string
}

// over counts what one client asks; the driver makes several.
func (c *counted) over(next http.RoundTripper) http.RoundTripper { return counting{c, next} }

type counting struct {
	*counted
	next http.RoundTripper
}

func (c counting) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Query().Get("watch") == "" && r.URL.Path != "/version" {
		c.mu.Lock()
		c.all = append(c.all, r.Method+" "+r.URL.Path)
		c.mu.Unlock()
	}
	return c.next.RoundTrip(r)
}

// since returns what was asked after the first n, and how many there are now.
func (c *counted) since(n int) ([]string, int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]string(nil), c.all[n:]...), len(c.all)
}

// owned makes workloads as if the agent had, without pods.
func owned(t *testing.T, client kubernetes.Interface, namespaces, each int) {
	t.Helper()
	ours := map[string]string{"app.kubernetes.io/managed-by": "fairlead"}
	for n := range namespaces {
		namespace := fmt.Sprintf("many-%d", n)
		if _, err := client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace, Labels: ours}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		for w := range each {
			name := fmt.Sprintf("w-%d", w)
			labels := map[string]string{"app.kubernetes.io/managed-by": "fairlead", "fairlead.dev/workload": name}
			_, err := client.AppsV1().Deployments(namespace).Create(t.Context(), &appsv1.Deployment{
				ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels},
				Spec: appsv1.DeploymentSpec{
					Replicas: new(int32), Selector: &metav1.LabelSelector{MatchLabels: labels},
					Template: corev1.PodTemplateSpec{
						ObjectMeta: metav1.ObjectMeta{Labels: labels},
						Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: programImage}}},
					},
				},
			}, metav1.CreateOptions{FieldManager: "fairlead-crane"})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
}

// Not beside other tests: what they change by hand would be looked at.
func TestSeeingManyWorkloadsAsksNothingOfTheAPIServer(t *testing.T) {
	s := newSite(t)
	const namespaces, each = 10, 5
	owned(t, s.client, namespaces, each)

	admin, err := kubetest.Running(t).Config()
	if err != nil {
		t.Fatal(err)
	}
	requests := &counted{}
	config := asAgent(t, admin)
	config.Wrap(requests.over)
	driver, err := kube.New(config, kube.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	changed := make(chan struct{}, 1)
	var both sync.WaitGroup
	both.Go(func() {
		if err := driver.Watch(ctx, func() {
			select {
			case changed <- struct{}{}:
			default:
			}
		}); err != nil {
			t.Errorf("watch: %v", err)
		}
	})
	both.Go(func() {
		if err := driver.Guard(ctx, nobody); err != nil {
			t.Errorf("guard: %v", err)
		}
	})
	defer both.Wait()
	defer cancel()

	// seen counts the workloads whose release is the number.
	seen := func(release int64) (n int, err error) {
		list, err := driver.List(ctx)
		for _, c := range list {
			if c.Managed && strings.HasPrefix(c.ID.Prefix, "many-") && c.Release == release {
				n++
			}
		}
		return n, err
	}
	select {
	case <-changed: // it follows what happens
	case <-time.After(2 * time.Minute):
		t.Fatal("the cluster is not seen")
	}
	eventually(t, func() error {
		if n, err := seen(0); err != nil || n != namespaces*each {
			return fmt.Errorf("%d workloads are seen, %w", n, err)
		}
		return nil
	})
	// It asks for a while, until it follows everything; then for nothing.
	var release int64
	eventually(t, func() error {
		release++
		_, before := requests.since(0)
		for i := range namespaces {
			note := fmt.Appendf(nil, `{"metadata":{"annotations":{"fairlead.dev/release":"%d"}}}`, release)
			_, err := s.client.AppsV1().Deployments(fmt.Sprintf("many-%d", i)).
				Patch(ctx, "w-0", types.MergePatchType, note, metav1.PatchOptions{FieldManager: "fairlead-crane"})
			if err != nil {
				t.Fatal(err)
			}
		}
		eventually(t, func() error {
			if n, err := seen(release); err != nil || n != namespaces {
				return fmt.Errorf("%d changes are seen, %w", n, err)
			}
			return nil
		})
		if asked, _ := requests.since(before); len(asked) > 0 {
			return fmt.Errorf("while it saw %d workloads and their changes it asked: %q", namespaces*each, asked)
		}
		return nil
	})
}
