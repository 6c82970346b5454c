package agentrpc_test

import (
	"net/http"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"
)

func TestADoctorHearsWhatTheControllerThinks(t *testing.T) {
	s := newSite(t)
	e := s.admin.Install(t, "acme", s.node)
	stranger := s.connect(t, e)
	if _, err := agentv1.NewSessionServiceClient(stranger).Diagnose(t.Context(), &agentv1.DiagnoseRequest{}); status.Code(err) != codes.Unauthenticated {
		t.Errorf("without a certificate: %v", err)
	}
	_, own, err := enrol(t, stranger, e.Token)
	if err != nil {
		t.Fatal(err)
	}
	client := agentv1.NewSessionServiceClient(s.connect(t, e, own))
	answer, err := client.Diagnose(t.Context(), &agentv1.DiagnoseRequest{})
	if err != nil || answer.GetNodeId() != s.node || len(answer.GetRoots()) != 1 || answer.GetRoots()[0] != e.RootSHA256 ||
		time.Since(answer.GetTime().AsTime()).Abs() > time.Minute {
		t.Errorf("got %v, %v", answer, err)
	}
	s.admin.Delete(s.nodePath()+"/token").Expect(t, http.StatusNoContent)
	if _, err := client.Diagnose(t.Context(), &agentv1.DiagnoseRequest{}); refusal(err) != agentv1.RefusalReason_REFUSAL_REASON_REVOKED {
		t.Errorf("revoked: %v", err)
	}
}
