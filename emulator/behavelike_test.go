package emulator_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/attestor-gate/attestor/emulator"
)

func TestReadBehaviour(t *testing.T) {
	got, err := emulator.ReadBehaviour(strings.NewReader(`{"format":"attestor-trial/1","facts":[{"id":"x"}],"behaviour":{
		"uniqueness":"note+resource+payload","refuseUpdates":true,"listLag":"2.5s","emptyPages":3,"noProviderNotes":true,
		"quotas":[{"method":"AsymmetricSign","limit":10,"per":"1m"}]}}`))
	want := emulator.Behaviour{
		Uniqueness: emulator.UniqueNoteResourceAndPayload, RefuseUpdates: true, ListLag: 2500 * time.Millisecond, EmptyPages: 3,
		NoProviderNotes: true, Quotas: []emulator.Quota{{Method: "AsymmetricSign", Limit: 10, Per: time.Minute}},
	}
	if err != nil || !cmp.Equal(got, want) {
		t.Errorf("%v\n%s", err, cmp.Diff(want, got))
	}

	// What was not found out stays the strictest.
	if got, err := emulator.ReadBehaviour(strings.NewReader(`{"format":"attestor-trial/1","behaviour":{}}`)); err !=
		nil || !cmp.Equal(got, emulator.Behaviour{}) {
		t.Errorf("an empty behaviour: %+v, %v", got, err)
	}

	for name, text := range map[string]string{
		"no JSON":            `behaviour`,
		"another format":     `{"format":"attestor-trial/2","behaviour":{}}`,
		"no behaviour":       `{"format":"attestor-trial/1"}`,
		"an unknown field":   `{"format":"attestor-trial/1","behaviour":{"uniquness":"none"}}`,
		"an unknown value":   `{"format":"attestor-trial/1","behaviour":{"uniqueness":"some"}}`,
		"no duration":        `{"format":"attestor-trial/1","behaviour":{"listLag":"3"}}`,
		"a negative lag":     `{"format":"attestor-trial/1","behaviour":{"listLag":"-3s"}}`,
		"a quota of nothing": `{"format":"attestor-trial/1","behaviour":{"quotas":[{"method":"x","limit":0,"per":"1s"}]}}`,
		"another type":       `{"format":"attestor-trial/1","behaviour":[]}`,
		"too long":           `{"format":"attestor-trial/1","behaviour":{},"x":"` + strings.Repeat("a", 1<<20) + `"}`,
	} {
		if b, err := emulator.ReadBehaviour(strings.NewReader(text)); err == nil {
			t.Errorf("%s: taken as %+v", name, b)
		}
	}
}
