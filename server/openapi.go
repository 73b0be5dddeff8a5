package server

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"net/http"

	"go.yaml.in/yaml/v4"
)

//go:embed openapi.yaml
var openapiYAML []byte

// openapiJSON returns the API's description as JSON.
func openapiJSON() ([]byte, error) {
	var doc any
	if err := yaml.Load(openapiYAML, &doc); err != nil {
		return nil, fmt.Errorf("reading the OpenAPI document: %w", err)
	}
	b, err := json.Marshal(doc)
	if err != nil {
		return nil, fmt.Errorf("writing the OpenAPI document: %w", err)
	}
	return b, nil
}

// showOpenAPI answers GET /openapi.json.
func (s *Server) showOpenAPI(k *call) error {
	doc, err := s.openapi()
	if err != nil {
		return err
	}
	return s.answer(k, http.StatusOK, json.RawMessage(doc))
}
