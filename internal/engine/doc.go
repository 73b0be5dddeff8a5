// Package engine joins the stages: by a configuration it makes the Gate with
// everything that it needs, and serves it. It is the one package beneath the
// commands that knows every stage, and it adds no rule of its own.
//
//	engine.go       New: what is made, in which order
//	stages.go       inspector, scanner, attester, record
//	dependency.go   circuits and times of what is called
//	service.go      what package server asks for, answered by the stages
//	serve.go        the listeners, and the work beside requests
//	recover.go      what a crash left
//	pages.go        what the service's pages show
package engine
