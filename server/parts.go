package server

// Attestations, Simulator, Posture, Events and Rejudger are declared where
// they are served.
type (
	Attestations interface{}
	Simulator    interface{}
	Posture      interface{}
	Events       interface{}
	Rejudger     interface{}
)
