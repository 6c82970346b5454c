package fleetsim

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"

	"golang.org/x/sync/errgroup"

	"fairlead.dev/shared/pki"

	"fairlead.dev/e2e/client"
)

// handedOver finds what an install script hands to the agent.
var handedOver = regexp.MustCompile(`\{[^{}]*"rootSha256"[^{}]*\}`)

// Tokens makes n nodes of a team through the API, with an install script each,
// and returns what the scripts hand to their agents: the tokens, the
// controller's address and the pin of its root.
func Tokens(ctx context.Context, team *client.Team, prefix string, n, parallel int) (tokens []Token, controller string, pin pki.Pin, err error) {
	tokens = make([]Token, n)
	scripts := make([]string, n)
	group, within := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for i := range n {
		group.Go(func() error {
			name := fmt.Sprintf("%s%05d", prefix, i)
			id, err := team.CreateNode(within, name)
			if err != nil {
				return err
			}
			script, err := team.CreateScript(within, id, "/var/lib/fairlead-agent")
			tokens[i], scripts[i] = Token{NodeID: id, NodeName: name}, script.Script
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, "", pin, err
	}
	for i, script := range scripts {
		var e struct {
			Controller string `json:"controller"`
			RootSHA256 string `json:"rootSha256"`
			Token      string `json:"token"`
		}
		if err := json.Unmarshal([]byte(handedOver.FindString(script)), &e); err != nil {
			return nil, "", pin, fmt.Errorf("find the enrolment in an install script: %w", err)
		}
		tokens[i].Token, controller = e.Token, e.Controller
		if pin, err = pki.ParsePin(e.RootSHA256); err != nil {
			return nil, "", pin, err
		}
	}
	return tokens, controller, pin, nil
}
