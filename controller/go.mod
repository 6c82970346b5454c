module fairlead.dev/controller

go 1.26.0

require (
	fairlead.dev/install-scripts v0.0.0
	fairlead.dev/migrations v0.0.0
	fairlead.dev/protobuf v0.0.0
	fairlead.dev/shared v0.0.0
	github.com/jackc/pgpassfile v1.0.0 // indirect
	github.com/jackc/pgservicefile v0.0.0-20240606120523-5a60cdf6a761 // indirect
	github.com/jackc/pgx/v5 v5.12.0 // indirect
	github.com/jackc/puddle/v2 v2.2.3 // indirect
	github.com/jinzhu/inflection v1.0.0 // indirect
	github.com/jinzhu/now v1.1.5 // indirect
	golang.org/x/sync v0.22.0 // indirect
	golang.org/x/text v0.41.0 // indirect
	gorm.io/driver/postgres v1.6.3 // indirect
	gorm.io/gorm v1.31.2 // indirect
)

replace fairlead.dev/shared => ../shared

replace fairlead.dev/migrations => ../migrations

replace fairlead.dev/protobuf => ../protobuf

replace fairlead.dev/install-scripts => ../install-scripts
