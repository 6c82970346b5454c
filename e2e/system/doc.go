// Package system tests Fairlead as a whole, from outside: the programs as
// processes, their own PostgreSQL, the real Docker Engine, the generated install
// script run by a shell, a real registry. It knows the REST API, the docker
// command and nothing of the programs' insides.
package system
