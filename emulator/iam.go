package emulator

import (
	"context"
	"strconv"
	"strings"

	"cloud.google.com/go/iam/apiv1/iampb"
	"google.golang.org/protobuf/proto"
)

// maxPermissions is how many one TestIamPermissions call may ask about.
const maxPermissions = 100

// testPermissions answers which permissions the caller has. IAM policies are
// kept and given back; they grant and take nothing unless EnforceIAM is set.
func (e *Emulator) testPermissions(ctx context.Context,
	r *iampb.TestIamPermissionsRequest) (*iampb.TestIamPermissionsResponse, error) {
	if r.GetResource() == "" {
		return nil, invalid("resource", "resource is required")
	}
	if len(r.GetPermissions()) > maxPermissions {
		return nil, invalid("permissions", "at most 100 permissions can be tested at once")
	}

	e.store.mu.RLock()
	defer e.store.mu.RUnlock()
	out := &iampb.TestIamPermissionsResponse{}
	for _, p := range r.GetPermissions() {
		// The live service's own words.
		if p == "" || strings.Contains(p, "*") {
			return nil, invalid("permissions", "permissions with wildcards (such as * or storage.*) are not allowed")
		}
		if e.requireLocked(ctx, p, r.GetResource()) == nil {
			out.Permissions = append(out.Permissions, p)
		}
	}
	return out, nil
}

func (e *Emulator) iamPolicy(ctx context.Context, r *iampb.GetIamPolicyRequest) (*iampb.Policy, error) {
	if r.GetResource() == "" {
		return nil, invalid("resource", "resource is required")
	}
	e.store.mu.RLock()
	defer e.store.mu.RUnlock()

	if err := e.requireLocked(ctx, policyPermission(r.GetResource(), "get"), r.GetResource()); err != nil {
		return nil, err
	}
	if row, ok := e.store.get(tableIAM, r.GetResource()); ok {
		return decode[iampb.Policy](row), nil
	}
	return &iampb.Policy{Version: 1, Etag: []byte("0")}, nil
}

func (e *Emulator) setIAMPolicy(ctx context.Context, r *iampb.SetIamPolicyRequest) (*iampb.Policy, error) {
	if r.GetResource() == "" || r.GetPolicy() == nil {
		return nil, invalid("policy", "resource and policy are required")
	}
	e.store.mu.Lock()
	defer e.store.mu.Unlock()

	if err := e.requireLocked(ctx, policyPermission(r.GetResource(), "set"), r.GetResource()); err != nil {
		return nil, err
	}
	etag := "0"
	if row, ok := e.store.get(tableIAM, r.GetResource()); ok {
		etag = string(decode[iampb.Policy](row).GetEtag())
	}
	if err := checkEtag(string(r.GetPolicy().GetEtag()), etag); err != nil {
		return nil, err
	}

	// The etag counts versions; a policy that was never set has version 0.
	n, _ := strconv.Atoi(etag)
	p := proto.CloneOf(r.GetPolicy())
	p.Etag = []byte(strconv.Itoa(n + 1))
	return p, e.store.apply(change{table: tableIAM, name: r.GetResource(), data: encode(p)})
}

func (s iamService) TestIamPermissions(
	ctx context.Context,
	r *iampb.TestIamPermissionsRequest,
) (*iampb.TestIamPermissionsResponse, error) {
	return s.testPermissions(ctx, r)
}

func (s iamService) GetIamPolicy(ctx context.Context, r *iampb.GetIamPolicyRequest) (*iampb.Policy, error) {
	return s.iamPolicy(ctx, r)
}

func (s iamService) SetIamPolicy(ctx context.Context, r *iampb.SetIamPolicyRequest) (*iampb.Policy, error) {
	return s.setIAMPolicy(ctx, r)
}

func (s *analysisService) TestIamPermissions(
	ctx context.Context,
	r *iampb.TestIamPermissionsRequest,
) (*iampb.TestIamPermissionsResponse, error) {
	return s.testPermissions(ctx, r)
}

func (s *analysisService) GetIamPolicy(ctx context.Context, r *iampb.GetIamPolicyRequest) (*iampb.Policy, error) {
	return s.iamPolicy(ctx, r)
}

func (s *analysisService) SetIamPolicy(ctx context.Context, r *iampb.SetIamPolicyRequest) (*iampb.Policy, error) {
	return s.setIAMPolicy(ctx, r)
}

func (s artifactService) TestIamPermissions(
	ctx context.Context,
	r *iampb.TestIamPermissionsRequest,
) (*iampb.TestIamPermissionsResponse, error) {
	return s.testPermissions(ctx, r)
}

func (s artifactService) GetIamPolicy(ctx context.Context, r *iampb.GetIamPolicyRequest) (*iampb.Policy, error) {
	return s.iamPolicy(ctx, r)
}

func (s artifactService) SetIamPolicy(ctx context.Context, r *iampb.SetIamPolicyRequest) (*iampb.Policy, error) {
	return s.setIAMPolicy(ctx, r)
}
