module fairlead.dev/dagent

go 1.26.0

require (
	fairlead.dev/protobuf v0.0.0
	fairlead.dev/shared v0.0.0
)

require (
	github.com/distribution/reference v0.6.0 // indirect
	github.com/docker/docker v28.5.2+incompatible // indirect
	github.com/docker/go-connections v0.8.2 // indirect
	github.com/opencontainers/go-digest v1.0.0 // indirect
)

replace fairlead.dev/protobuf => ../protobuf

replace fairlead.dev/shared => ../shared
