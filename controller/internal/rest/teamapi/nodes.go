package teamapi

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/actor"
	"fairlead.dev/controller/internal/authz"
	"fairlead.dev/controller/internal/node"
	"fairlead.dev/shared/apperr"
)

// maxPage bounds how many rows one page may have.
const maxPage = 1000

type nodeOutput struct {
	Type        node.Type     `json:"type" enum:"docker,k8s"`
	Status      string        `json:"status" enum:"unreachable,connected,outdated,updating"`
	Liveness    node.Liveness `json:"liveness" enum:"connected,stale,lost,left" doc:"What status sums up, in full"`
	Since       *time.Time    `json:"since" nullable:"true" doc:"Since when the liveness holds; null if never connected"`
	Description string        `json:"description"`
	Icon        string        `json:"icon"`
	Address     string        `json:"address" doc:"Where the agent's connection comes from"`
	ConnectedAt *time.Time    `json:"connectedAt" nullable:"true"`
	Version     string        `json:"version" doc:"Version of the agent"`
	Updating    bool          `json:"updating" doc:"Whether the agent is being replaced by another build"`
	Refusal     string        `json:"refusal,omitempty" doc:"Why the agent did not take its last assignments"`
	RefusedAt   *time.Time    `json:"refusedAt,omitempty" doc:"Since when it has not"`
	ID          uuid.UUID     `json:"id"`
	Name        string        `json:"name"`

	Diverged   *troubleOutput `json:"diverged,omitempty" doc:"The agent holds assignments that this controller has never wanted, and is sent nothing until somebody adopts the node"`
	EngineDown *troubleOutput `json:"engineDown,omitempty" doc:"The node's engine does not answer; containers are shown as they were seen last"`
}

// troubleOutput is something that is wrong with a node.
type troubleOutput struct {
	Reason string    `json:"reason"`
	Since  time.Time `json:"since"`
}

// trouble returns nil when nothing is wrong.
func trouble(reason string, since time.Time) *troubleOutput {
	if reason == "" {
		return nil
	}
	return &troubleOutput{Reason: reason, Since: since}
}

// NodeDetailOutput is a node with what only its own page shows.
type nodeDetailOutput struct {
	NodeOutput
	HasToken bool `json:"hasToken" doc:"Whether an agent has an identity for this node"`
	// What is below is about an agent that needs to be looked after.
	LastRefusal optional[refusalOutput]    `json:"lastRefusal" doc:"Why an agent of the node was last turned away"`
	Quarantine  optional[quarantineOutput] `json:"quarantine" doc:"Set while the agent is sent nothing until somebody readmits it"`
	Cloned      optional[clonedOutput]     `json:"cloned" doc:"When two processes were last seen with the identity of the node"`
	Recoveries  int64                      `json:"recoveries" doc:"How often the agent came back after its certificate had expired"`
	RecoveredAt *time.Time                 `json:"recoveredAt" nullable:"true"`
	Update      optional[updateOutput]     `json:"update" doc:"The last replacement of the agent by another build"`
	Install     optional[installOutput]    `json:"install" doc:"The unused install script, for those who may install"`
	InUse       bool                       `json:"inUse" doc:"Whether deployments are placed on the node"`
}

type refusalOutput struct {
	Reason  string    `json:"reason" doc:"In words that do not change, such as revoked, cloned or protocol"`
	Message string    `json:"message"`
	At      time.Time `json:"at"`
	Address string    `json:"address" doc:"Where the agent came from"`
}

type quarantineOutput struct {
	Reason string    `json:"reason"`
	Since  time.Time `json:"since"`
}

type clonedOutput struct {
	At           time.Time `json:"at"`
	Address      string    `json:"address" doc:"Of the agent that is connected"`
	OtherAddress string    `json:"otherAddress" doc:"Of the process that was refused"`
}

// NodeOutput is exported for embedding; see TeamPath.
type NodeOutput = nodeOutput

type installOutput struct {
	Command  string    `json:"command" doc:"The one line to paste on the node"`
	Script   string    `json:"script"`
	ExpireAt time.Time `json:"expireAt"`
}

// NodePath names a node of a team.
type NodePath struct {
	TeamPath
	NodeID uuid.UUID `path:"nodeId" format:"uuid"`
}

type deleteNodeInput struct {
	NodePath
	Containers string `query:"containers" enum:"keep,remove" default:"keep" doc:"What the node's agent does, once it can be told, before it goes: keep all containers as they run, or remove those that it made, with their networks. Volumes stay either way"`
}

// NodeBody is what a person says about a node.
type NodeBody struct {
	Body struct {
		Name        string `json:"name" doc:"1 to 70 characters"`
		Description string `json:"description,omitempty"`
		Icon        string `json:"icon,omitempty"`
	}
}

func (b NodeBody) draft() node.Draft {
	return node.Draft{Name: b.Body.Name, Description: b.Body.Description, Icon: b.Body.Icon}
}

type createNodeInput struct {
	TeamPath
	NodeBody
}

type updateNodeInput struct {
	NodePath
	NodeBody
}

type scriptInput struct {
	NodePath
	Body struct {
		Type          node.Type `json:"type" enum:"docker,k8s"`
		ScriptType    string    `json:"scriptType" enum:"shell,powershell"`
		RootPath      string    `json:"rootPath,omitempty" doc:"Host folder for the agent's state"`
		DagentTraefik *struct {
			ACMEEmail string `json:"acmeEmail" minLength:"1" maxLength:"254" doc:"E-mail address the certificate authority is told"`
		} `json:"dagentTraefik,omitempty" doc:"Has the agent run its own proxy, which gets certificates for what deployments expose with TLS"`
	}
}

type nodeEventsInput struct {
	NodePath
	From   time.Time `query:"from" required:"true"`
	To     time.Time `query:"to" required:"true"`
	Skip   int       `query:"skip" required:"true" minimum:"0"`
	Take   int       `query:"take" required:"true" minimum:"1" maximum:"1000"`
	Event  string    `query:"filterEventType" maxLength:"70" doc:"What happened, e.g. connected"`
	User   string    `query:"user" maxLength:"200" doc:"Name of who did it"`
	Filter string    `query:"filter" maxLength:"200" doc:"Part of the event or of its data, e.g. the name of a container"`
}

type nodeEventOutput struct {
	CreatedAt time.Time       `json:"createdAt"`
	Event     string          `json:"event"`
	Data      json.RawMessage `json:"data"`
}

type nodeEventsOutput struct {
	Items []nodeEventOutput `json:"items"`
	Total int               `json:"total" doc:"How many there are in all; exact unless more than 10000 follow this page, and then how many there are at least"`
}

func (a *api) nodeRoutes() {
	const tag, base, one = "Nodes", "/api/{teamSlug}/nodes", "/api/{teamSlug}/nodes/{nodeId}"
	addList(a, route{method: http.MethodGet, path: base, summary: "List nodes", tag: tag, action: authz.NodeRead}, a.listNodes)
	add(a, route{method: http.MethodPost, path: base, summary: "Create a node", tag: tag, action: authz.NodeCreate,
		status: http.StatusCreated, errors: []int{409}, repeats: once}, a.createNode)
	add(a, route{method: http.MethodGet, path: one, summary: "Get a node", tag: tag, action: authz.NodeRead}, a.getNode)
	add(a, route{method: http.MethodPut, path: one, summary: "Update a node", tag: tag, action: authz.NodeUpdate,
		revises: true, status: http.StatusNoContent, errors: []int{409}}, a.updateNode)
	add(a, route{method: http.MethodDelete, path: one, summary: "Delete a node", tag: tag, action: authz.NodeDelete,
		revises: true, status: http.StatusNoContent, errors: []int{412}}, a.deleteNode)
	add(a, route{method: http.MethodPost, path: one + "/script", summary: "Make an install script", tag: tag, action: authz.NodeInstall,
		status: http.StatusCreated, errors: []int{409, 412, 501}, repeats: never}, a.createScript)
	add(a, route{method: http.MethodDelete, path: one + "/script", summary: "Delete the unused install script", tag: tag, action: authz.NodeInstall,
		status: http.StatusNoContent}, a.deleteScript)
	add(a, route{method: http.MethodGet, path: one + "/script", summary: "Fetch the install script", tag: tag, public: true, produces: "text/plain",
		errors: []int{404, 429}}, a.serveScript)
	add(a, route{method: http.MethodDelete, path: one + "/token", summary: "Revoke the node's token", tag: tag, action: authz.NodeRevoke,
		status: http.StatusNoContent}, a.revokeNodeToken)
	add(a, route{method: http.MethodPost, path: one + "/readmit", summary: "End the quarantine of the node's agent", tag: tag, action: authz.NodeReadmit,
		status: http.StatusNoContent, errors: []int{412}}, a.readmitNode)
	add(a, route{method: http.MethodGet, path: one + "/audit", summary: "List a node's events", tag: tag, action: authz.NodeRead}, a.listNodeEvents)
}

func (a *api) listNodes(ctx context.Context, _ *TeamPath) (*ok[[]nodeOutput], error) {
	nodes, err := a.deps.Nodes.List(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]nodeOutput, len(nodes))
	for i, n := range nodes {
		out[i] = a.toNodeOutput(n)
	}
	return respond(out), nil
}

func (a *api) createNode(ctx context.Context, in *createNodeInput) (*created[nodeOutput], error) {
	n, err := a.deps.Nodes.Create(ctx, in.draft())
	if err != nil {
		return nil, err
	}
	return &created[nodeOutput]{Location: "/api/" + in.TeamSlug + "/nodes/" + n.ID.String(), Body: a.toNodeOutput(n)}, nil
}

func (a *api) getNode(ctx context.Context, in *NodePath) (*tagged[nodeDetailOutput], error) {
	n, err := a.deps.Nodes.Get(ctx, in.NodeID)
	if err != nil {
		return nil, err
	}
	out := nodeDetailOutput{
		NodeOutput: a.toNodeOutput(n), HasToken: n.Agent.ID != uuid.Nil, InUse: n.InUse,
		Recoveries: n.Agent.Recoveries, RecoveredAt: timeOrNil(n.Agent.RecoveredAt),
	}
	if n.Update.ID != uuid.Nil {
		out.Update = some(new(a.toUpdateOutput(n.Update)))
	}
	if r := n.LastRefusal; !r.At.IsZero() {
		out.LastRefusal = some(&refusalOutput{Reason: r.Reason, Message: r.Message, At: r.At, Address: r.Address})
	}
	if n.Agent.Quarantine != "" {
		out.Quarantine = some(&quarantineOutput{Reason: n.Agent.Quarantine, Since: n.Agent.QuarantineAt})
	}
	if !n.Agent.ClonedAt.IsZero() {
		out.Cloned = some(&clonedOutput{At: n.Agent.ClonedAt, Address: n.Agent.Address, OtherAddress: n.Agent.ClonedAddress})
	}
	// The script holds a token: it is for those who may make one.
	if team, err := actor.TeamFrom(ctx); err == nil && authz.Allowed(team.Role, authz.NodeInstall) {
		script, err := a.deps.Nodes.InstallScript(n)
		if err != nil {
			return nil, err
		}
		if script != nil {
			out.Install = some(&installOutput{Command: script.Command, Script: script.Content, ExpireAt: script.ExpireAt})
		}
	}
	return respondTagged(out, n.UpdatedAt), nil
}

func (a *api) updateNode(ctx context.Context, in *updateNodeInput) (*empty, error) {
	return nil, a.deps.Nodes.Update(ctx, in.NodeID, in.draft())
}

func (a *api) deleteNode(ctx context.Context, in *deleteNodeInput) (*empty, error) {
	if in.Containers == "remove" {
		return nil, a.deps.Nodes.DeleteRemoving(ctx, in.NodeID)
	}
	return nil, a.deps.Nodes.Delete(ctx, in.NodeID)
}

func (a *api) createScript(ctx context.Context, in *scriptInput) (*created[installOutput], error) {
	o := node.InstallOptions{Type: in.Body.Type, ScriptType: node.ScriptType(in.Body.ScriptType), RootPath: in.Body.RootPath}
	if in.Body.DagentTraefik != nil {
		o.ACMEEmail = in.Body.DagentTraefik.ACMEEmail
	}
	script, err := a.deps.Nodes.CreateScript(ctx, in.NodeID, o)
	if err != nil {
		return nil, err
	}
	return &created[installOutput]{
		Location: "/api/" + in.TeamSlug + "/nodes/" + in.NodeID.String() + "/script",
		Body:     installOutput{Command: script.Command, Script: script.Content, ExpireAt: script.ExpireAt},
	}, nil
}

func (a *api) deleteScript(ctx context.Context, in *NodePath) (*empty, error) {
	return nil, a.deps.Nodes.DeleteScript(ctx, in.NodeID)
}

type scriptText struct {
	ContentType  string `header:"Content-Type"`
	CacheControl string `header:"Cache-Control"`
	// Signature is over the body, by the release key, base64.
	Signature string `header:"Fairlead-Signature"`
	Body      []byte
}

type fetchInput struct {
	NodePath
	Address
	Signature string `query:"signature" enum:"ssh,minisign" doc:"Answer with a detached signature of the script in its place, for ssh-keygen -Y verify or minisign -V"`
}

func (a *api) serveScript(ctx context.Context, in *fetchInput) (*scriptText, error) {
	if err := throttle(a.deps.ScriptAllowed, in.Address); err != nil {
		return nil, err
	}
	script, err := a.deps.Nodes.ServeScript(ctx, in.TeamSlug, in.NodeID)
	if err != nil {
		return nil, err
	}
	if in.Signature != "" {
		signature, err := a.deps.SignScriptFor(in.Signature, []byte(script))
		if err != nil {
			return nil, err
		}
		return &scriptText{ContentType: "text/plain; charset=utf-8", CacheControl: "no-store", Body: signature}, nil
	}
	return &scriptText{
		ContentType: "text/plain; charset=utf-8", CacheControl: "no-store",
		Signature: a.deps.SignScript([]byte(script)), Body: []byte(script),
	}, nil
}

func (a *api) revokeNodeToken(ctx context.Context, in *NodePath) (*empty, error) {
	return nil, a.deps.Nodes.RevokeToken(ctx, in.NodeID)
}

func (a *api) readmitNode(ctx context.Context, in *NodePath) (*empty, error) {
	return nil, a.deps.Nodes.Readmit(ctx, in.NodeID)
}

func (a *api) listNodeEvents(ctx context.Context, in *nodeEventsInput) (*ok[nodeEventsOutput], error) {
	if in.To.Before(in.From) {
		return nil, apperr.InvalidField("to", in.To, "must not be before from")
	}
	events, total, err := a.deps.Nodes.Events(ctx, in.NodeID, node.EventQuery{
		From: in.From, To: in.To, Skip: in.Skip, Take: min(in.Take, maxPage), Event: in.Event, User: in.User, Filter: in.Filter,
	})
	if err != nil {
		return nil, err
	}
	out := nodeEventsOutput{Items: make([]nodeEventOutput, len(events)), Total: total}
	for i, e := range events {
		out.Items[i] = nodeEventOutput{CreatedAt: e.At, Event: e.Event, Data: json.RawMessage(e.Data)}
	}
	return respond(out), nil
}

func (a *api) toNodeOutput(n node.Node) nodeOutput {
	now := a.deps.Now()
	live, since := n.Agent.Liveness(now)
	status, updating := n.Agent.Status(now), n.Update.Running(now)
	if updating && (live == node.Connected || live == node.Stale) {
		status = "updating"
	}
	return nodeOutput{
		Type: n.Type, Status: status, Updating: updating, Liveness: live, Since: timeOrNil(since),
		Description: n.Description, Icon: n.Icon, Address: n.Agent.Address, ConnectedAt: timeOrNil(n.Agent.ConnectedAt),
		Version: n.Agent.Version, Refusal: n.Agent.Refusal, RefusedAt: timeOrNil(n.Agent.RefusedAt), ID: n.ID, Name: n.Name,
		Diverged: trouble(n.Agent.Diverged, n.Agent.DivergedAt), EngineDown: trouble(n.Agent.EngineError, n.Agent.EngineErrorAt),
	}
}
