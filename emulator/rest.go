package emulator

import "net/http"

func (e *Emulator) newREST() (http.Handler, error) { return http.NotFoundHandler(), nil }

// Handler serves gRPC and REST on one port.
func (e *Emulator) Handler() http.Handler { return e.rest }
