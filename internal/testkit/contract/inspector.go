package contract

import (
	"testing"

	"github.com/attestor-gate/attestor"
)

// Inspecting is an inspector before a registry with one image.
type Inspecting struct {
	attestor.Inspector
	Tagged  attestor.Reference // of the image, by tag
	Image   attestor.Image     // no index
	Unknown attestor.Reference // a tag that the registry does not have
	Down    func()             // the registry fails from now on
}

// Inspector is the suite of [attestor.Inspector].
func Inspector(t *testing.T, open func(t *testing.T) Inspecting) {
	pinned := func(t *testing.T, w Inspecting) attestor.Reference {
		t.Helper()
		ref, err := attestor.ParseReference(w.Image.String())
		if err != nil {
			t.Fatal(err)
		}
		return ref
	}

	t.Run("an image", func(t *testing.T) {
		w := open(t)
		img, err := w.Pin(t.Context(), w.Tagged)
		if err != nil || img != w.Image {
			t.Fatalf("Pin(%s) = %v, %v; want %s", w.Tagged, img, err, w.Image)
		}

		if index, err := w.Index(t.Context(), w.Image); err != nil || index {
			t.Errorf("Index(%s) = %t, %v; it is an image", w.Image, index, err)
		}

		for _, ref := range []attestor.Reference{w.Tagged, pinned(t, w)} {
			r, err := w.Resolve(t.Context(), ref, attestor.Needs{})
			if err != nil {
				t.Fatalf("Resolve(%s): %v", ref, err)
			}
			if r.Image != w.Image || r.MediaType == "" || r.Index {
				t.Errorf("Resolve(%s) = %+v, want the image %s", ref, r, w.Image)
			}

			// An image is its own only child: the digest that is judged is the one
			// that was asked for.
			if len(r.Children) != 1 || r.Children[0].Digest != w.Image.Digest() || r.Children[0].Platform == "" {
				t.Fatalf("Resolve(%s) has children %+v", ref, r.Children)
			}

			if ev := w.Inspect(t.Context(), r, r.Children[0], attestor.Needs{}); ev.Child != r.Children[0] {
				t.Errorf("Inspect(%+v) is evidence of %+v", r.Children[0], ev.Child)
			}
		}
	})

	t.Run("unknown", func(t *testing.T) {
		w := open(t)
		img, err := w.Pin(t.Context(), w.Unknown)
		wantKind(t, "Pin", err, attestor.NotFound)
		if !img.IsZero() {
			t.Errorf("Pin of an unknown image is %s", img)
		}
		_, err = w.Resolve(t.Context(), w.Unknown, attestor.Needs{})
		wantKind(t, "Resolve", err, attestor.NotFound)
	})

	t.Run("registry down", func(t *testing.T) {
		w := open(t)
		w.Down()
		_, err := w.Pin(t.Context(), w.Tagged)
		wantKind(t, "Pin", err, attestor.Upstream)
		_, err = w.Resolve(t.Context(), w.Tagged, attestor.Needs{})
		wantKind(t, "Resolve", err, attestor.Upstream)
		if codeOf(err) == "" {
			t.Errorf("the error %v has no code", err)
		}
	})

	t.Run("nobody waits", func(t *testing.T) {
		w := open(t)
		if img, err := w.Pin(gone(t), w.Tagged); err == nil || attestor.KindOf(err) == attestor.NotFound {
			t.Errorf("Pin with an ended context: %v, %v", img, err)
		}
		if _, err := w.Resolve(gone(t), w.Tagged, attestor.Needs{}); err == nil ||
			attestor.KindOf(err) == attestor.NotFound {
			t.Errorf("Resolve with an ended context: %v", err)
		}
	})
}
