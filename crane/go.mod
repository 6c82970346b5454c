module fairlead.dev/crane

go 1.26.0

require fairlead.dev/shared v0.0.0

replace fairlead.dev/protobuf => ../protobuf

replace fairlead.dev/shared => ../shared
