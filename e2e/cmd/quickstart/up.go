package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"time"

	"fairlead.dev/e2e/client"
	"fairlead.dev/e2e/sample/sampleimage"
	"fairlead.dev/shared/buildinfo"
	"fairlead.dev/shared/ociimage"
)

// The names under which the quick start finds its things again.
const (
	teamSlug  = "demo"
	teamName  = "Demo"
	appName   = "sample"
	nodeName  = "this-machine"
	prefix    = "demo"
	container = prefix + "-" + appName
)

// How long the slow steps may take.
const (
	returnPatience  = 10 * time.Second
	connectPatience = time.Minute
	deployPatience  = 3 * time.Minute
	answerPatience  = 20 * time.Second
)

func say(format string, args ...any) { fmt.Printf("    "+format+"\n", args...) }

func up(ctx context.Context, s settings) error {
	c := client.New(s.controller)
	if err := logIn(ctx, c, s); err != nil {
		return err
	}
	image, err := pushSample(ctx, s)
	if err != nil {
		return err
	}
	versionID, err := describe(ctx, c, s, image)
	if err != nil {
		return err
	}
	nodeID, err := installNode(ctx, c, s)
	if err != nil {
		return err
	}
	deploymentID, err := deploy(ctx, c, s, versionID, nodeID)
	if err != nil {
		return err
	}
	address := fmt.Sprintf("http://127.0.0.1:%d", s.appPort)
	greeting, err := look(ctx, address)
	if err != nil {
		return err
	}
	show(s, address, greeting, nodeID, deploymentID)
	return nil
}

func logIn(ctx context.Context, c *client.Client, s settings) error {
	password, err := os.ReadFile(s.passwordFile())
	if err != nil {
		return fmt.Errorf("read the administrator's password: %w", err)
	}
	if err := c.Login(ctx, s.email, strings.TrimSpace(string(password))); err != nil {
		return fmt.Errorf("log in as %s with the password in %s: %w", s.email, s.passwordFile(), err)
	}
	options := fmt.Sprintf("silent\nshow-error\nheader = \"Authorization: Bearer %s\"\nheader = \"Content-Type: application/json\"\n", c.Token())
	if err := os.WriteFile(s.curlFile(), []byte(options), 0o600); err != nil {
		return fmt.Errorf("keep the session for curl: %w", err)
	}
	say("logged in as %s", s.email)
	return nil
}

// pushSample builds the sample and returns its name and tag in the registry.
func pushSample(ctx context.Context, s settings) (string, error) {
	image, err := sampleimage.Build(ctx, buildinfo.Version())
	if err != nil {
		return "", err
	}
	reference := appName + ":" + strings.ReplaceAll(buildinfo.Version(), "+", "-")
	if _, err := ociimage.Push(ctx, s.registry+"/"+reference, image, ociimage.Credentials{}); err != nil {
		return "", fmt.Errorf("push the sample to the registry at %s: %w", s.registry, err)
	}
	say("built the sample application and pushed it to %s/%s", s.registry, reference)
	return reference, nil
}

// describe tells the controller what the application is: a registry, a project
// with one version, and in that an image with its configuration.
func describe(ctx context.Context, c *client.Client, s settings, reference string) (versionID string, err error) {
	base := "/api/" + teamSlug
	if _, _, err := ensure(ctx, c, "/api/teams", teamName, client.Object{"slug": teamSlug, "name": teamName}); err != nil {
		return "", err
	}
	registry := client.Object{"type": "v2", "name": "local", "description": "The registry of make up", "details": client.Object{"url": s.registry}}
	local, made, err := ensure(ctx, c, base+"/registries", "local", registry)
	if err == nil && !made { // the port may be another than last time
		err = c.Call(ctx, http.MethodPut, base+"/registries/"+local.ID, registry, nil)
	}
	if err != nil {
		return "", err
	}
	project, _, err := ensure(ctx, c, base+"/projects", appName, client.Object{"type": "versioned", "name": appName, "description": "The sample application"})
	if err != nil {
		return "", err
	}
	versions := base + "/projects/" + project.ID + "/versions"
	version, _, err := ensure(ctx, c, versions, "rolling", client.Object{"type": "rolling", "name": "rolling", "changelog": ""})
	if err != nil {
		return "", err
	}
	images := versions + "/" + version.ID + "/images"
	var present []named
	if err := c.Call(ctx, http.MethodGet, images, nil, &present); err != nil {
		return "", err
	}
	name, tag, _ := strings.Cut(reference, ":")
	if len(present) == 0 {
		add := []client.Object{{"registryId": local.ID, "images": []string{reference}}}
		if err := c.Call(ctx, http.MethodPost, images, add, &present); err != nil {
			return "", err
		}
	}
	for _, image := range present {
		if image.Name != name {
			continue
		}
		err := c.Call(ctx, http.MethodPatch, images+"/"+image.ID, client.Object{"tag": tag, "config": client.Object{
			"name":  appName,
			"ports": []client.Object{{"internal": 8080, "external": s.appPort, "address": "127.0.0.1"}},
		}}, nil)
		if err != nil {
			return "", err
		}
	}
	say("team %s, project %s, version rolling, image %s", teamSlug, appName, reference)
	return version.ID, nil
}

// node is what is asked of a node.
type node struct {
	Status   string `json:"status"`
	Refusal  string `json:"refusal"`
	HasToken bool   `json:"hasToken"`
}

// installNode makes this machine a node, by the line that a person would paste.
func installNode(ctx context.Context, c *client.Client, s settings) (nodeID string, err error) {
	nodes := "/api/" + teamSlug + "/nodes"
	this, _, err := ensure(ctx, c, nodes, nodeName, client.Object{"name": nodeName, "description": "The machine that make up ran on"})
	if err != nil {
		return "", err
	}
	var seen node
	if err := c.Call(ctx, http.MethodGet, nodes+"/"+this.ID, nil, &seen); err != nil {
		return "", err
	}
	connected := func() (bool, string, error) {
		err := c.Call(ctx, http.MethodGet, nodes+"/"+this.ID, nil, &seen)
		return seen.Status == "connected", strings.TrimSpace(seen.Status + " " + seen.Refusal), err
	}
	if seen.HasToken { // its agent may be on its way back to a restarted controller
		_ = client.Await(ctx, returnPatience, "wait for the agent to return", connected)
	}
	if seen.Status == "connected" {
		say("this machine is the node %s; its agent is connected", nodeName)
		return this.ID, nil
	}
	var script struct {
		Command string `json:"command"`
	}
	err = c.Call(ctx, http.MethodPost, nodes+"/"+this.ID+"/script",
		client.Object{"type": "docker", "scriptType": "shell", "rootPath": s.state + "/agent"}, &script)
	if err != nil {
		return "", err
	}
	say("running the generated install script on this machine:")
	install := exec.CommandContext(ctx, "sh", "-c", script.Command)
	install.Stdout, install.Stderr = os.Stdout, os.Stderr
	if err := install.Run(); err != nil {
		return "", fmt.Errorf("the install script failed (%w); its output is above", err)
	}
	if err := client.Await(ctx, connectPatience, "wait for the agent to connect", connected); err != nil {
		return "", fmt.Errorf("%w; see: docker logs $(docker ps --quiet --filter label=dev.fairlead.agent=%s)", err, this.ID)
	}
	say("the agent of the node %s is connected", nodeName)
	return this.ID, nil
}

// deployment is what is asked of a deployment.
type deployment struct {
	ID      string `json:"id"`
	Prefix  string `json:"prefix"`
	Status  string `json:"status"`
	LastTry int64  `json:"lastTry"`
	Waiting string `json:"waiting"`
	Node    named  `json:"node"`
	Version named  `json:"version"`
}

func deploy(ctx context.Context, c *client.Client, s settings, versionID, nodeID string) (deploymentID string, err error) {
	deployments := "/api/" + teamSlug + "/deployments"
	var list []deployment
	if err := c.Call(ctx, http.MethodGet, deployments, nil, &list); err != nil {
		return "", err
	}
	var d deployment
	for _, one := range list {
		if one.Prefix == prefix && one.Node.ID == nodeID && one.Version.ID == versionID {
			d = one
		}
	}
	if d.ID == "" {
		draft := client.Object{"versionId": versionID, "nodeId": nodeID, "prefix": prefix, "note": "make up"}
		if err := c.Call(ctx, http.MethodPost, deployments, draft, &d); err != nil {
			return "", err
		}
	}
	if err := os.WriteFile(s.deploymentsFile(), []byte(d.ID+"\n"), 0o600); err != nil {
		return "", fmt.Errorf("note the deployment: %w", err)
	}
	if err := c.Call(ctx, http.MethodPost, deployments+"/"+d.ID+"/start", nil, nil); err != nil {
		return "", err
	}
	err = client.Await(ctx, deployPatience, "wait for the deployment", func() (bool, string, error) {
		err := c.Call(ctx, http.MethodGet, deployments+"/"+d.ID, nil, &d)
		return d.Status != "in-progress", strings.TrimSpace(d.Status + " " + d.Waiting), err
	})
	if err != nil {
		return "", err
	}
	if d.Status != "successful" {
		return "", fmt.Errorf("the deployment is %s: %s", d.Status, whyFailed(ctx, c, deployments+"/"+d.ID))
	}
	say("deployed as the container %s: release %d is %s", container, d.LastTry, d.Status)
	return d.ID, nil
}

// whyFailed tells what the last release's failure was.
func whyFailed(ctx context.Context, c *client.Client, path string) string {
	var releases []struct {
		Number  int64 `json:"number"`
		Failure *struct {
			Step    string   `json:"step"`
			Message string   `json:"message"`
			LogTail []string `json:"logTail"`
		} `json:"failure"`
	}
	if err := c.Call(ctx, http.MethodGet, path+"/releases", nil, &releases); err != nil {
		return err.Error()
	}
	why, last := "no reason was recorded", int64(0)
	for _, r := range releases {
		if r.Failure != nil && r.Number > last {
			last = r.Number
			why = fmt.Sprintf("release %d, %s: %s\n%s", r.Number, r.Failure.Step, r.Failure.Message, strings.Join(r.Failure.LogTail, "\n"))
		}
	}
	return strings.TrimSpace(why)
}

// look asks the application itself.
func look(ctx context.Context, address string) (greeting string, err error) {
	var info struct {
		Greeting string `json:"greeting"`
	}
	app := client.New(address)
	var last error
	err = client.Await(ctx, answerPatience, "wait for "+address+"/info", func() (bool, string, error) {
		last = app.Call(ctx, http.MethodGet, "/info", nil, &info)
		return last == nil, "not answering", nil
	})
	return info.Greeting, errors.Join(err, last)
}

func show(s settings, address, greeting, nodeID, deploymentID string) {
	api := s.controller + "/api/" + teamSlug
	curl := "curl -K " + s.curlFile()
	change, _ := json.Marshal(client.Object{"environment": []client.Object{{"key": "GREETING", "value": "Hello again"}}})
	fmt.Printf(`
The sample answers at %s: %s

  application   %s  (container %s)
  controller    %s  (API page: %s/docs)
  user          %s, password in %s
  deployment    %s: successful

Try next:
  %s %s/nodes/%s/containers
  %s -X PATCH %s/deployments/%s -d '%s'
  %s -X POST %s/deployments/%s/start && curl -s %s/info

Stop and remove everything: make down
`, address, greeting, address, container, s.controller, s.controller, s.email, s.passwordFile(), deploymentID,
		curl, api, nodeID, curl, api, deploymentID, change, curl, api, deploymentID, address)
}
