module fairlead.dev/e2e

go 1.26.0

require (
	fairlead.dev/controller v0.0.0
	fairlead.dev/dagent v0.0.0
	fairlead.dev/install-scripts v0.0.0
	fairlead.dev/migrations v0.0.0
	fairlead.dev/protobuf v0.0.0
	fairlead.dev/shared v0.0.0
)

replace fairlead.dev/protobuf => ../protobuf

replace fairlead.dev/shared => ../shared

replace fairlead.dev/controller => ../controller

replace fairlead.dev/dagent => ../dagent

replace fairlead.dev/migrations => ../migrations

replace fairlead.dev/install-scripts => ../install-scripts
