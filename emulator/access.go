package emulator

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"cloud.google.com/go/iam/apiv1/iampb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// owner is the token of a caller who may do everything, so that the first policy can be written.
const owner = "owner"

// caller is who a call's token says is calling: a member of IAM policies such as "user:a@example.com", owner, or "" for
// nobody. A token is believed as it is: it is a member, an address, or a JWT, whose address is read and whose signature
// is not.
func caller(ctx context.Context) string {
	md, _ := metadata.FromIncomingContext(ctx)
	values := md.Get("authorization")
	if len(values) == 0 {
		return ""
	}
	scheme, token, _ := strings.Cut(values[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}

	// Three parts without an at sign are a JWT.
	token = strings.TrimSpace(token)
	if parts := strings.Split(token, "."); len(parts) == 3 && !strings.Contains(token, "@") {
		token = tokenAddress(parts[1])
	}
	switch {
	case token == owner, token == "", strings.Contains(token, ":"):
		return token
	// IAM, "Principal identifiers": a service account's address ends in gserviceaccount.com.
	case strings.HasSuffix(token, ".gserviceaccount.com"):
		return "serviceAccount:" + token
	case strings.Contains(token, "@"):
		return "user:" + token
	default:
		return "token" // somebody, and nobody that a policy can name
	}
}

// tokenAddress is the claim email of a JWT's payload, or "".
func tokenAddress(payload string) string {
	b, err := base64.RawURLEncoding.DecodeString(payload)
	if err != nil {
		return ""
	}
	var claims struct{ Email string }
	if json.Unmarshal(b, &claims) != nil {
		return ""
	}
	return claims.Email
}

// require fails a call whose permission a behaviour takes away, or that no IAM policy grants where they decide.
func (e *Emulator) require(ctx context.Context, permission, resource string) error {
	e.store.mu.RLock()
	defer e.store.mu.RUnlock()
	return e.requireLocked(ctx, permission, resource)
}

// requireLocked is [Emulator.require] for a caller who holds the store's lock.
func (e *Emulator) requireLocked(ctx context.Context, permission, resource string) error {
	b := e.Behaviour()
	if b.denies(permission, resource) {
		return denied(permission, resource)
	}
	if !b.EnforceIAM {
		return nil
	}

	who := caller(ctx)
	if e.grants(who, permission, resource) {
		return nil
	}

	// Without a caller there is nobody whose right could be missing.
	if who == "" {
		return status.Error(codes.Unauthenticated, "Request is missing required authentication credential.")
	}
	return denied(permission, resource)
}

// grants is whether a policy on a resource or above it gives a caller a permission. IAM, "Resource hierarchy": "The
// effective allow policy for a resource is the union of the allow policy set on that resource and the allow policy
// inherited from its parent." The caller holds the store's lock.
func (e *Emulator) grants(who, permission, resource string) bool {
	if who == owner {
		return true
	}
	for r := resource; r != ""; r = above(r) {
		row, ok := e.store.get(tableIAM, r)
		if !ok {
			continue
		}
		for _, b := range decode[iampb.Policy](row).GetBindings() {
			// A condition is not evaluated here: what it guards is not granted, rather than granted to all.
			if b.GetCondition() == nil && hasMember(b.GetMembers(), who) && roleHas(b.GetRole(), permission) {
				return true
			}
		}
	}
	return false
}

// above is the next resource that has a policy of its own: a key's ring, a note's project; "" for a project.
func above(resource string) string {
	i := strings.LastIndexByte(resource, '/')
	if i < 0 {
		return ""
	}
	up := resource[:i]

	// projects/P/policy is one segment longer than its parent, collections/ID are two.
	if strings.Count(up, "/")%2 == 0 && strings.Count(up, "/") > 0 {
		up = up[:strings.LastIndexByte(up, '/')]
	}
	if up == "projects" {
		return ""
	}
	return up
}

// hasMember is whether members name a caller. IAM, Binding: "allUsers" is "anyone who is on the internet; with or
// without a Google account", "allAuthenticatedUsers" is "anyone who is authenticated".
func hasMember(members []string, who string) bool {
	return slices.Contains(members, "allUsers") ||
		who != "" && (slices.Contains(members, who) || slices.Contains(members, "allAuthenticatedUsers"))
}

// policyPermission is the permission to read or write the IAM policy of a resource.
func policyPermission(resource, verb string) string {
	parts := strings.Split(resource, "/")
	collection := parts[max(0, len(parts)-2)]
	if parts[len(parts)-1] == "policy" {
		collection = "policy"
	}

	service := map[string]string{
		"keyRings": "cloudkms", "cryptoKeys": "cloudkms", "notes": "containeranalysis",
		"occurrences": "containeranalysis",
		"attestors":   "binaryauthorization", "policy": "binaryauthorization", "repositories": "artifactregistry",
		"projects": "resourcemanager",
	}[collection]
	return fmt.Sprintf("%s.%s.%sIamPolicy", service, collection, verb)
}
