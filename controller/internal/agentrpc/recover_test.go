package agentrpc_test

import (
	"crypto"
	"net/http"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	agentv1 "fairlead.dev/protobuf/gen/fairlead/agent/v1"
	"fairlead.dev/shared/pki"
)

func TestRecoveryNeedsTheAgentsKeyAndNoCertificate(t *testing.T) {
	s := newSite(t)
	e := s.admin.Install(t, "acme", s.node)
	conn := s.connect(t, e)
	answer, own, err := enrol(t, conn, e.Token)
	if err != nil {
		t.Fatal(err)
	}
	ask := func(id string, key crypto.PrivateKey) (*agentv1.RecoverResponse, error) {
		signer, ok := key.(crypto.Signer)
		if !ok {
			t.Fatalf("%T can't sign", key)
		}
		request, err := pki.NewRequest(signer)
		if err != nil {
			t.Fatal(err)
		}
		return agentv1.NewEnrolmentServiceClient(conn).Recover(t.Context(), &agentv1.RecoverRequest{AgentId: id, CertificateRequest: request})
	}
	recovered, err := ask(answer.GetAgentId(), own.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	own.Certificate = recovered.GetCertificateChain()
	renewed, err := agentv1.NewSessionServiceClient(s.connect(t, e, own)).RenewCertificate(t.Context(),
		&agentv1.RenewCertificateRequest{CertificateRequest: request(t)})
	if err != nil || len(renewed.GetCertificateChain()) == 0 {
		t.Errorf("the recovered certificate is of no use: %v", err)
	}

	other, err := pki.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		id   string
		key  crypto.PrivateKey
		code codes.Code
	}{
		"another key":   {answer.GetAgentId(), other, codes.Unauthenticated},
		"another agent": {"0199e4a0-0000-7000-8000-000000000000", own.PrivateKey, codes.Unauthenticated},
		"no agent's id": {"one", own.PrivateKey, codes.InvalidArgument},
	} {
		if _, err := ask(c.id, c.key); status.Code(err) != c.code {
			t.Errorf("%s: %v, want %v", name, err, c.code)
		}
	}
	s.admin.Delete(s.nodePath()+"/token").Expect(t, http.StatusNoContent)
	if _, err := ask(answer.GetAgentId(), own.PrivateKey); refusal(err) != agentv1.RefusalReason_REFUSAL_REASON_REVOKED {
		t.Errorf("revoked: %v, want revoked", err)
	}
}

// request is a certificate request for a new key.
func request(t *testing.T) []byte {
	t.Helper()
	key, err := pki.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	r, err := pki.NewRequest(key)
	if err != nil {
		t.Fatal(err)
	}
	return r
}
