package teamapi_test

import (
	"net/http"

	"github.com/google/uuid"

	"fairlead.dev/controller/internal/authz"
	"fairlead.dev/controller/internal/controllertest"
	"fairlead.dev/shared/workload/workloadtest"
)

// acts are how each route is made to change something.
func (s *stage) acts() map[string]func() act {
	const team, member = "/api/teams/{teamId}", "/api/teams/{teamId}/users/{userId}"
	const project, version = "/api/{teamSlug}/projects/{projectId}", "/api/{teamSlug}/projects/{projectId}/versions/{versionId}"
	const node, deployment = "/api/{teamSlug}/nodes/{nodeId}", "/api/{teamSlug}/deployments/{deploymentId}"
	const notification = "/api/{teamSlug}/notifications/{notificationId}"
	body := func(b object) func() act { return func() act { return act{body: b} } }
	nothing := func() act { return act{} }
	named := func(more object) func() act {
		return func() act {
			b := object{"name": s.fresh()}
			for k, v := range more {
				b[k] = v
			}
			return act{body: b}
		}
	}
	at := func(parameter string, id func() string) func() act {
		return func() act { return act{at: map[string]string{parameter: id()}} }
	}
	contained := func() act { // where a container is acted on, there is one
		s.awaitAgent(s.rows["{nodeId}"])
		s.start(s.rows["{deploymentId}"])
		s.awaitContainer()
		return act{}
	}
	terminal := func() act { // a command in the container; one that is refused has no exit code
		a := contained()
		a.over = func(path string) controllertest.Reply {
			seen := s.owner.Exec(path, object{"command": []string{workloadtest.FakeProgram, "env", "A"}, "env": object{"A": neverAudited}}).ReadAll()
			if seen.Exit != 0 {
				return controllertest.Reply{Status: http.StatusBadRequest, Body: []byte(seen.Message)}
			}
			return controllertest.Reply{Status: http.StatusOK, Body: []byte(seen.Stdout)}
		}
		return a
	}
	bare := func() act {
		a := contained()
		a.at = map[string]string{"{name}": "shop-web"}
		return a
	}
	hook := object{"type": "webhook", "url": "https://127.0.0.1/" + neverAudited, "active": true, "enabledEvents": []string{"node-added"}}
	registry := object{"type": "unchecked", "details": object{"url": "example.com", "user": "u", "token": neverAudited}}
	storage := object{"url": "s3.example.com", "accessKey": "a", "secretKey": neverAudited}
	return map[string]func() act{
		"POST /api/auth/register": func() act {
			return act{who: s.Anonymous(s.t), event: authz.SelfRegister, body: object{"email": s.fresh() + "@example.com", "password": neverAudited + " and more"}}
		},
		"POST /api/auth/login": func() act {
			return act{who: s.Anonymous(s.t), event: authz.SelfLogin, body: object{"email": controllertest.AdminEmail, "password": controllertest.AdminPassword}}
		},
		"POST /api/auth/logout": func() act { return act{who: s.Admin(s.t)} },
		"POST /api/teams":       func() act { return act{body: object{"name": s.fresh(), "slug": s.fresh()}} },
		"PUT " + team:           body(object{"name": "Acme Ltd", "slug": "acme"}),
		"DELETE " + team: at("{teamId}", func() string {
			return s.add("/teams", object{"name": s.fresh(), "slug": s.fresh()})
		}),
		"POST " + team + "/users": func() act { return act{body: object{"email": s.fresh() + "@example.com", "firstName": "Some"}} },
		"PUT " + member + "/role": func() act {
			return act{at: map[string]string{"{userId}": s.member()}, body: object{"role": "admin"}}
		},
		"DELETE " + team + "/users/leave":           func() act { return act{who: s.leaver()} },
		"DELETE " + member:                          at("{userId}", s.member),
		"POST " + member + "/reinvite":              at("{userId}", func() string { return s.invite(s.fresh() + "@example.com") }),
		"POST /api/users/me/invitations/{teamId}":   func() act { return act{who: s.invited()} },
		"DELETE /api/users/me/invitations/{teamId}": func() act { return act{who: s.invited()} },
		"POST /api/tokens":                          named(object{"expirationInDays": 1}),
		"DELETE /api/tokens/{tokenId}":              at("{tokenId}", func() string { return s.add("/tokens", object{"name": s.fresh(), "expirationInDays": 1}) }),

		"POST /api/{teamSlug}/nodes": named(nil),
		"PUT " + node:                body(object{"name": "one", "description": "changed"}),
		"DELETE " + node:             at("{nodeId}", func() string { return s.nodeWithAgent("", "") }),
		"POST " + node + "/script": func() act {
			return act{at: map[string]string{"{nodeId}": s.add("/acme/nodes", object{"name": s.fresh()})}, body: object{"type": "docker", "scriptType": "shell"}}
		},
		"DELETE " + node + "/script": at("{nodeId}", func() string {
			id := s.add("/acme/nodes", object{"name": s.fresh()})
			s.owner.Install(s.t, "acme", id)
			return id
		}),
		"DELETE " + node + "/token": at("{nodeId}", func() string { return s.nodeWithAgent("", "") }),
		"POST " + node + "/readmit": at("{nodeId}", func() string { return s.nodeWithAgent(", quarantine, quarantined_at", ", 'away', now()") }),
		"POST " + node + "/adopt": at("{nodeId}", func() string {
			return s.nodeWithAgent(", diverged, diverged_at, diverged_lineage, diverged_generation", ", 'another history', now(), 'other', 7")
		}),
		"POST " + node + "/update": func() act {
			s.awaitAgent(s.rows["{nodeId}"])
			return act{}
		},
		"POST /api/{teamSlug}/rollouts": func() act {
			s.execute(s.t, "update rollouts set state = 'cancelled', finished_at = now()")
			node := s.add("/acme/nodes", object{"name": s.fresh()})
			s.oldAgent(node)
			return act{body: object{}}
		},
		"POST /api/{teamSlug}/rollouts/{rolloutId}/cancel": at("{rolloutId}", func() string {
			s.execute(s.t, "update rollouts set state = 'cancelled', finished_at = now()")
			id := uuid.NewString()
			s.execute(s.t, `insert into rollouts (id, team_id, to_version, state, waves, created_at, created_by) values ($1, $2, 'v', 'running', 1, now(), 'x')`, id, s.rows["{teamId}"])
			return id
		}),

		"POST " + node + "/containers/{name}/start":            bare,
		"POST " + node + "/containers/{name}/stop":             bare,
		"POST " + node + "/containers/{name}/restart":          bare,
		"POST " + node + "/{prefix}/containers/{name}/start":   contained,
		"POST " + node + "/{prefix}/containers/{name}/stop":    contained,
		"POST " + node + "/{prefix}/containers/{name}/restart": contained,
		"GET " + node + "/{prefix}/containers/{name}/exec":     terminal,
		"DELETE " + node + "/containers/{name}":                bare,
		"DELETE " + node + "/{prefix}/containers/{name}":       contained,
		"DELETE " + node + "/{prefix}/containers":              contained,

		"POST /api/{teamSlug}/deployments": func() act {
			return act{body: object{"versionId": s.rows["{versionId}"], "nodeId": s.rows["{nodeId}"], "prefix": s.fresh()}}
		},
		"PATCH " + deployment:           body(object{"note": "changed", "environment": []object{{"key": "A", "value": neverAudited}}}),
		"DELETE " + deployment:          at("{deploymentId}", s.deployment),
		"POST " + deployment + "/copy":  func() act { return act{body: object{"nodeId": s.rows["{nodeId}"], "prefix": s.fresh()}} },
		"POST " + deployment + "/start": func() act { s.letGo(); return act{} },
		"PATCH " + deployment + "/instances/{instanceId}": body(object{"config": object{
			"environment": []object{{"key": "A", "value": neverAudited}}, "secrets": []object{{"key": "B", "value": neverAudited}},
		}}),
		"PUT " + deployment + "/token": func() act {
			return act{at: map[string]string{"{deploymentId}": s.deployment()}, body: object{"name": s.fresh()}}
		},
		"DELETE " + deployment + "/token": at("{deploymentId}", func() string {
			id := s.deployment()
			s.owner.Put("/api/acme/deployments/"+id+"/token", object{"name": s.fresh()}).Expect(s.t, http.StatusCreated)
			return id
		}),
		"POST " + deployment + "/token/exchange": func() act {
			s.trust()
			return act{who: s.Anonymous(s.t), event: authz.OIDCTrustExchange, body: object{"token": s.issuer.Token(s.t, "fairlead", object{"repository_id": "42"})}}
		},
		"PUT " + deployment + "/releases/{releaseNumber}/hold": body(object{"reason": "it leaks"}),
		"DELETE " + deployment + "/releases/{releaseNumber}/hold": func() act {
			s.owner.Put("/api/acme/deployments/"+s.rows["{deploymentId}"]+"/releases/1/hold", object{"reason": "it leaks"}).Expect(s.t, http.StatusOK)
			return act{}
		},
		"POST " + deployment + "/releases/{releaseNumber}/rollback": func() act { s.letGo(); return act{} },

		"POST /api/{teamSlug}/notifications": named(hook),
		"PUT " + notification:                named(hook),
		"DELETE " + notification: at("{notificationId}", func() string {
			return s.add("/acme/notifications", object{"name": s.fresh(), "type": "slack", "url": "https://127.0.0.1/x", "active": true, "enabledEvents": []string{"node-added"}})
		}),
		"POST " + notification + "/secret": at("{notificationId}", func() string {
			hooked := object{"name": s.fresh()}
			for k, v := range hook {
				hooked[k] = v
			}
			return s.add("/acme/notifications", hooked)
		}),
		"POST " + notification + "/deliveries/{deliveryId}/redeliver": nothing,

		"POST /api/{teamSlug}/oidc-trusts":             named(object{"provider": "github", "deploymentId": s.rows["{deploymentId}"], "conditions": object{"repository_id": []string{"1"}}}),
		"DELETE /api/{teamSlug}/oidc-trusts/{trustId}": at("{trustId}", s.trust),

		"POST /api/{teamSlug}/registries":                named(registry),
		"PUT /api/{teamSlug}/registries/{registryId}":    named(registry),
		"DELETE /api/{teamSlug}/registries/{registryId}": at("{registryId}", s.registry),
		"POST /api/{teamSlug}/storages":                  named(storage),
		"PUT /api/{teamSlug}/storages/{storageId}":       named(storage),
		"DELETE /api/{teamSlug}/storages/{storageId}":    at("{storageId}", func() string { return s.add("/acme/storages", object{"name": s.fresh(), "url": "s3.example.com"}) }),

		"POST /api/{teamSlug}/projects": named(object{"type": "versionless"}),
		"PUT " + project:                named(nil),
		"DELETE " + project:             at("{projectId}", func() string { return s.add("/acme/projects", object{"name": s.fresh(), "type": "versionless"}) }),
		"POST " + project + "/convert":  at("{projectId}", func() string { return s.add("/acme/projects", object{"name": s.fresh(), "type": "versionless"}) }),
		"POST " + project + "/versions": named(object{"type": "rolling"}),
		"PUT " + version:                named(nil),
		"DELETE " + version:             at("{versionId}", func() string { return s.version("rolling") }),
		"PUT " + version + "/default":   at("{versionId}", func() string { return s.version("rolling") }),
		"POST " + version + "/increase": func() act {
			return act{at: map[string]string{"{versionId}": s.version("incremental")}, body: object{"name": s.fresh()}}
		},
		"POST " + version + "/images": func() act {
			return act{body: []any{object{"registryId": s.rows["{registryId}"], "images": []string{"web:2"}}}}
		},
		"PUT " + version + "/images/order": func() act {
			var all []struct{ ID string }
			s.owner.Get("/api/acme/projects/"+s.rows["{projectId}"]+"/versions/"+s.rows["{versionId}"]+"/images").Expect(s.t, http.StatusOK).Into(s.t, &all)
			ids := make([]string, len(all))
			for i, image := range all {
				ids[len(all)-1-i] = image.ID
			}
			return act{body: ids}
		},
		"PATCH " + version + "/images/{imageId}":  body(object{"tag": "2", "config": object{"environment": []object{{"key": "A", "value": neverAudited}}}}),
		"DELETE " + version + "/images/{imageId}": at("{imageId}", s.image),

		"POST /api/templates": func() act { // which is rows of what it makes
			return act{event: authz.ProjectCreate, body: object{"name": s.fresh(), "id": "gitea", "teamSlug": "acme", "type": "versionless"}}
		},
		"POST /api/{teamSlug}/compose": named(object{
			"compose": "services: {web: {image: example.com/web, environment: {A: " + neverAudited + "}}}", "acceptUnsupported": true,
		}),
	}
}
