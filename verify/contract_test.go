package verify_test

import (
	"net"
	"net/http"
	"net/netip"
	"sync/atomic"
	"testing"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/testkit/contract"
	"github.com/attestor-gate/attestor/verify"
)

func TestInspectorContract(t *testing.T) {
	contract.Inspector(t, func(t *testing.T) contract.Inspecting {
		var down atomic.Bool
		host := newRegistry(t, func(h http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if down.Load() {
					http.Error(w, "out of order", http.StatusInternalServerError)
					return
				}
				h.ServeHTTP(w, r)
			})
		})

		tagged := parse(t, host+"/app:1")
		return contract.Inspecting{
			Inspector: newInspector(t, host, nil), Tagged: tagged, Image: tagged.At(pushRaw(t, host, "app", "1", rawImage{Layers: layersOf("a")})),
			Unknown: parse(t, host+"/app:unknown"), Down: func() { down.Store(true) },
		}
	})
}

func TestFakesKeepTheContracts(t *testing.T) {
	known, unknown := parse(t, "registry.example/app:1").At(sum([]byte("a"))), parse(t, "registry.example/other:1").At(sum([]byte("b")))

	t.Run("signer", func(t *testing.T) {
		s := &signer{signed: map[attestor.Digest]bool{known.Digest(): true}}
		contract.SignatureChecker(t, s, known, unknown, attestor.SignedBy{Key: "/k.pub"})
	})

	t.Run("statements", func(t *testing.T) {
		s := statements{known.Repository(), []attestor.Provenance{{Builder: "https://builder.example"}}}
		contract.ProvenanceSource(t, s, known, unknown)
	})

	t.Run("resolvers", func(t *testing.T) {
		contract.Resolver(t, net.DefaultResolver, "")
		contract.Resolver(t, names{}, "registry.example")
		contract.Resolver(t, &fixedResolver{addr: netip.MustParseAddr("203.0.113.1")}, "")
	})
}

var _ verify.Resolver = net.DefaultResolver
