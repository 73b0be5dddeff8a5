package attest_test

import (
	"context"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/attest"
	"github.com/attestor-gate/attestor/emulator"
)

// TestOnlyAnAuthorizationIsSigned: programs that try to sign without one do
// not compile.
func TestOnlyAnAuthorizationIsSigned(t *testing.T) {
	const head = "package snippet\n\nimport (\n\t\"context\"\n\n\t\"github.com/attestor-gate/attestor\"\n" +
		"\t\"github.com/attestor-gate/attestor/attest\"\n)\n\n" +
		"var ctx context.Context\nvar img attestor.Image\nvar auth attestor.Authorization\n" +
		"var known attestor.Standing\nvar a *attest.Attester\nvar s attest.Signer\n\n"

	build := func(body string) (string, error) {
		path := filepath.Join(t.TempDir(), "snippet.go")
		must(t, os.WriteFile(path, []byte(head+body), 0o600))
		out, err := exec.CommandContext(t.Context(), "go", "build", "-o", os.DevNull, path).CombinedOutput() //nolint:gosec // the test's own file
		return string(out), err
	}

	if out, err := build("func attest1() { _, _ = a.Attest(ctx, auth, known, func() error { return nil }) }\n"); err != nil {
		t.Fatalf("with an authorization it compiles, or what follows shows nothing: %v\n%s", err, out)
	}

	tests := []struct{ body, want string }{
		{"func askSigner() { s.sign() }", "s.sign undefined"},
		{"func makeWarrant() { _ = attest.warrant{} }", "name warrant not exported"},
		{"func makeAuthorization() { _ = attestor.Authorization{decision: \"x\"} }", "unexported field decision"},
		{"func changeAuthorization() { auth.subjects = nil }", "auth.subjects undefined"},
		{"func attestImage() { _, _ = a.Attest(ctx, img, known, func() error { return nil }) }", "cannot use img"},
		{"type mine struct{}\nfunc (mine) sign() {}\nfunc makeSigner() { var _ attest.Signer = mine{} }", "mine does not implement"},
	}

	var bodies []string
	for _, tt := range tests {
		bodies = append(bodies, tt.body)
	}

	out, err := build(strings.Join(bodies, "\n") + "\n")
	for _, tt := range tests {
		if err == nil || !strings.Contains(out, tt.want) {
			t.Errorf("%s: want %q in:\n%s", tt.body, tt.want, out)
		}
	}
}

// TestWarrantsHaveOneSource reads the source: a warrant with something in it
// is made in one function, from an Authorization; a private key is used in the
// sign methods, and those are called in one place.
func TestWarrantsHaveOneSource(t *testing.T) {
	fset := token.NewFileSet()
	paths, err := filepath.Glob("*.go")
	must(t, err)
	found := map[string][]string{}

	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}

		f, err := parser.ParseFile(fset, path, nil, 0)
		must(t, err)

		for _, d := range f.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}

			ast.Inspect(fn, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.CompositeLit:
					if id, ok := n.Type.(*ast.Ident); ok && id.Name == "warrant" {
						found["warrant"] = append(found["warrant"], fn.Name.Name)
					}
				case *ast.CallExpr:
					if s, ok := n.Fun.(*ast.SelectorExpr); ok && slices.Contains([]string{"sign", "Sign",
						"AsymmetricSign", "SignPSS", "SignPKCS1v15", "SignASN1"}, s.Sel.Name) {
						found[s.Sel.Name] = append(found[s.Sel.Name], fn.Name.Name)
					}
				}
				return true
			})

			if fn.Name.Name == "warrants" {
				if p, ok := fn.Type.Params.List[0].Type.(*ast.SelectorExpr); !ok || p.Sel.Name != "Authorization" || len(fn.Type.Params.List) != 1 {
					t.Error("warrants takes something else than an Authorization")
				}
			}
		}
	}

	// p.sign is the placement's, which calls the signer's, with its warrant.
	for what, want := range map[string][]string{"warrant": {"warrants"}, "sign": {"prepare", "sign"}, "Sign": {"sign"}, "AsymmetricSign": {"sign"}} {
		got := slices.Sorted(slices.Values(found[what]))
		if !slices.Equal(got, want) {
			t.Errorf("%s in %v, want %v", what, got, want)
		}
		delete(found, what)
	}

	if len(found) != 0 {
		t.Errorf("other ways to sign: %v", found)
	}
}

// TestPartsOfAWarrantSignNothing: a decision without an image, an image without a decision and a form that nobody reads
// have nothing to sign, whatever mistake put them together.
func TestPartsOfAWarrantSignNothing(t *testing.T) {
	img, err := attestor.ParseImage("registry.example/app@sha256:" + strings.Repeat("1", 64))
	must(t, err)
	for _, form := range []int{1, 2} {
		if b, err := attest.Signed("id", img, form); err != nil || !strings.Contains(string(b), string(img.Digest())) {
			t.Errorf("form %d: %q, %v", form, b, err)
		}
	}
	for name, signs := range map[string]func() ([]byte, error){
		"no decision": func() ([]byte, error) { return attest.Signed("", img, 1) },
		"no image":    func() ([]byte, error) { return attest.Signed("id", attestor.Image{}, 1) },
		"no form":     func() ([]byte, error) { return attest.Signed("id", img, 0) },
		"no such one": func() ([]byte, error) { return attest.Signed("id", img, 3) },
	} {
		if b, err := signs(); err == nil || len(b) != 0 {
			t.Errorf("%s: %q would be signed", name, b)
		}
	}
}

// TestZeroAuthorization permits nothing, and costs nothing.
func TestZeroAuthorization(t *testing.T) {
	w := newWorld(t, emulator.Behaviour{})
	a := w.kmsGate()
	w.ResetCalls()

	for _, known := range []attestor.Standing{{}, {Known: true}} {
		made, err := a.Attest(t.Context(), attestor.Authorization{}, known, recorded)
		if err == nil || len(made) != 0 || len(w.Calls()) != 0 {
			t.Errorf("made %v, %v after %v", made, err, w.Calls())
		}
	}
}

// TestZeroWarrant: not even inside the package.
func TestZeroWarrant(t *testing.T) {
	if sig, err := attest.SignNothing(t.Context(), keyFile(t, newKey(t))); err == nil {
		t.Errorf("signed %x", sig)
	}
}

// TestKnownIsNotBelieved: what a caller says that it knows is not evidence.
func TestKnownIsNotBelieved(t *testing.T) {
	w := newWorld(t, emulator.Behaviour{})
	a, s := w.gate()
	made, err := a.Attest(t.Context(), authorize(t, image(t, 1), attestor.AttestNeeds{}), attestor.Standing{Known: true, Valid: []attestor.Attestation{{
		Attestor: attestorName, Note: noteName, Occurrence: "projects/sec/occurrences/none", Digest: digest(1), PublicKeyID: attest.KeyID(s),
	}}}, recorded)

	must(t, err)
	if len(made) != 1 || !made[0].Created {
		t.Errorf("made %+v", made)
	}

	w.oneValid(image(t, 1))
}

// TestRememberedIsLookedAt: what this process made and somebody deleted is
// made again.
func TestRememberedIsLookedAt(t *testing.T) {
	w := newWorld(t, emulator.Behaviour{})
	a, s := w.gate()
	auth := authorize(t, image(t, 1), attestor.AttestNeeds{})
	_, err := a.Attest(t.Context(), auth, attestor.Standing{Known: true}, recorded)
	must(t, err)
	_, err = w.newAttester(attest.AttestorConfig{Name: attestorName, Signer: s}).Revoke(t.Context(), attest.Revocation{Images: []attestor.Image{image(t, 1)}})
	must(t, err)
	made, err := a.Attest(t.Context(), auth, attestor.Standing{Known: true}, recorded)
	must(t, err)
	if len(made) != 1 || !made[0].Created {
		t.Errorf("made %+v", made)
	}

	w.oneValid(image(t, 1))
}

// TestBreakGlassUsesItsOwnAttestor, and no other.
func TestBreakGlassUsesItsOwnAttestor(t *testing.T) {
	w := newWorld(t, emulator.Behaviour{})
	const glass = "projects/sec/attestors/glass"
	a, s := w.gate()
	_ = a
	w.attestor(glass)
	key := newKey(t)
	gs := keyFile(t, key)
	w.keys(glass, pkix(t, attest.KeyID(gs), key.Public(), p256))
	both := w.newAttester(attest.AttestorConfig{Name: attestorName, Signer: s}, attest.AttestorConfig{Name: glass, Signer: gs})
	img := image(t, 1)
	ev := attestor.Evidence{Image: img, Platforms: []attestor.PlatformEvidence{{Child: attestor.Child{Platform: "linux/amd64", Digest: img.Digest()}}}}
	needs := attestor.AttestNeeds{Attestors: []string{attestorName}, BreakGlass: []string{glass}}
	v := attestor.NewVerdict(ev, attestor.PolicyRef{Name: "p", Mode: attestor.Enforce}, needs,
		[]attestor.Question{{Check: attestor.CheckUser}},
		[]attestor.Check{{Name: attestor.CheckUser, Platform: "linux/amd64", Status: attestor.StatusDeny}})
	if _, err := attestor.Authorize("d", v); err == nil {
		t.Fatal("a denial was authorised")
	}

	grant, err := attestor.GrantBreakGlass(attestor.LocalCaller("oncall"), img,
		"production is down, see the incident", attestor.BreakGlassPolicy{Allowed: true}, time.Time{})
	must(t, err)
	auth, err := attestor.AuthorizeBreakGlass("d", v, grant)
	must(t, err)
	made, err := both.Attest(context.WithoutCancel(t.Context()), auth, attestor.Standing{}, recorded)
	must(t, err)
	if len(made) != 1 || made[0].Attestor != glass || len(w.stored(noteName)) != 0 {
		t.Errorf("made %+v", made)
	}
}
