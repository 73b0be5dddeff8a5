package sample_test

import (
	"testing"

	"sample"
)

func TestTested(t *testing.T) {
	for n, want := range map[int]bool{9: true, 10: false, 11: false} {
		if err := sample.Tested(n, false); (err == nil) != want {
			t.Error(n, err)
		}
	}
	if err := sample.Tested(11, true); err != nil {
		t.Error(err)
	}
}

func TestCareless(*testing.T) { sample.Careless([]string{"a", ""}) }
