package google_test

import (
	"errors"
	"testing"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/google"
)

// Where there are no credentials the error says how to get them; another one stays what it was.
func TestConnectingWithoutCredentials(t *testing.T) {
	missing := errors.New("credentials: could not find default credentials. See https://cloud.google.com/docs")
	err := google.Connecting(google.ServiceKMS, missing)
	e, ok := errors.AsType[*attestor.Error](err)
	if !ok || e.Kind != attestor.Invalid || e.Msg != "there are no Google credentials, which Cloud KMS asks for" || e.Fix == "" || !errors.Is(err, missing) {
		t.Errorf("%#v", err)
	}

	other := errors.New("no such certificate")
	if err := google.Connecting(google.ServiceKMS, other); err.Error() != "connecting to Cloud KMS: no such certificate" || !errors.Is(err, other) {
		t.Errorf("%v", err)
	}
}
