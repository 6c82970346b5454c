module fairlead.dev/shared

go 1.26.0

require (
	fairlead.dev/protobuf v0.0.0
	filippo.io/age v1.2.1
	github.com/distribution/reference v0.6.0
	golang.org/x/crypto v0.57.0
	golang.org/x/mod v0.41.0
	golang.org/x/net v0.60.0
	google.golang.org/grpc v1.85.0
	google.golang.org/protobuf v1.36.12
	pgregory.net/rapid v1.3.0
)

require (
	github.com/opencontainers/go-digest v1.0.0 // indirect
	golang.org/x/sys v0.48.0 // indirect
	golang.org/x/text v0.42.0 // indirect
	google.golang.org/genproto/googleapis/rpc v0.0.0-20260817212433-ac3dfec99bb1 // indirect
)

replace fairlead.dev/protobuf => ../protobuf
