package verify

import (
	"context"

	"github.com/attestor-gate/attestor"
)

func (i *Inspector) resolveName(ctx context.Context, s subject, u attestor.User) (attestor.User, []attestor.Problem) {
	return u, []attestor.Problem{problem(attestor.CheckUser, attestor.CodeUserLookupFailed, u.Configured, "names are not resolved yet", fixUser)}
}
