package emulator

import (
	"slices"
	"strings"
)

// roleHas is whether a predefined role has a permission of the emulated services, as "IAM roles and permissions index"
// lists them. A role that is not here, such as a custom one, has none.
func roleHas(role, permission string) bool {
	switch role {
	case "roles/owner":
		return true
	case "roles/viewer":
		verb := permission[strings.LastIndexByte(permission, '.')+1:]
		return verb == "get" || verb == "list"
	case "roles/editor":
		// Basic roles do not use keys and, but for the owner's, do not change who may do what.
		verb := permission[strings.LastIndexByte(permission, '.')+1:]
		return !strings.HasPrefix(verb, "useTo") && !strings.HasSuffix(verb, "IamPolicy") && verb != "attachOccurrence"
	}
	return slices.Contains(rolePermissions(role), permission)
}

// all is a service's permissions on one collection.
func all(collection string, verbs ...string) []string {
	out := make([]string, len(verbs))
	for i, v := range verbs {
		out[i] = collection + "." + v
	}
	return out
}

// rolePermissions are the permissions of a role for one service.
func rolePermissions(role string) []string {
	service, name, _ := strings.Cut(strings.TrimPrefix(role, "roles/"), ".")
	switch service {
	case "containeranalysis":
		return analysisRole(name)
	case "cloudkms":
		return keyRole(name)
	case "binaryauthorization":
		return binauthzRole(name)
	case "artifactregistry":
		return registryRole(name)
	default:
		return nil
	}
}

func analysisRole(name string) []string {
	const notes, occurrences = "containeranalysis.notes", "containeranalysis.occurrences"
	switch name {
	case "admin": // not listOccurrences
		return slices.Concat(
			all(notes, "attachOccurrence", "create", "delete", "get", "getIamPolicy", "list", "setIamPolicy", "update"),
			all(occurrences, "create", "delete", "get", "getIamPolicy", "list", "setIamPolicy", "update"),
		)
	case "notes.attacher":
		return all(notes, "attachOccurrence", "get")
	case "notes.editor":
		return all(notes, "attachOccurrence", "create", "delete", "get", "list", "update")
	case "notes.viewer":
		return all(notes, "get", "list")
	case "notes.occurrences.viewer":
		return all(notes, "get", "listOccurrences")
	case "occurrences.editor": // not attachOccurrence
		return all(occurrences, "create", "delete", "get", "list", "update")
	case "occurrences.viewer":
		return all(occurrences, "get", "list")
	default:
		return nil
	}
}

func keyRole(name string) []string {
	const rings, keys, versions = "cloudkms.keyRings", "cloudkms.cryptoKeys", "cloudkms.cryptoKeyVersions"
	locations := all("cloudkms.locations", "get", "list")
	switch name {
	case "admin": // not useToSign, not viewPublicKey
		return slices.Concat(
			locations,
			all(rings, "create", "get", "getIamPolicy", "list", "setIamPolicy"),
			all(keys, "create", "get", "getIamPolicy", "list", "setIamPolicy", "update"),
			all(versions, "create", "destroy", "get", "list", "restore", "update"),
		)
	case "viewer":
		return slices.Concat(locations, all(rings, "get", "list"), all(keys, "get", "list"),
			all(versions, "get", "list"))
	case "signer":
		return append(locations, versions+".useToSign")
	case "signerVerifier":
		return append(locations, all(versions, "useToSign", "useToVerify", "viewPublicKey")...)
	case "verifier":
		return append(locations, all(versions, "useToVerify", "viewPublicKey")...)
	case "publicKeyViewer":
		return append(locations, versions+".viewPublicKey")
	default:
		return nil
	}
}

func binauthzRole(name string) []string {
	const attestors, policy = "binaryauthorization.attestors", "binaryauthorization.policy"
	switch name {
	case "attestorsAdmin":
		return all(attestors, "create", "delete", "get", "getIamPolicy", "list", "setIamPolicy", "update",
			"verifyImageAttested")
	case "attestorsEditor":
		return all(attestors, "create", "delete", "get", "list", "update", "verifyImageAttested")
	case "attestorsVerifier":
		return all(attestors, "get", "list", "verifyImageAttested")
	case "attestorsViewer":
		return all(attestors, "get", "list")
	case "policyAdmin":
		return all(policy, "get", "getIamPolicy", "setIamPolicy", "update")
	case "policyEditor":
		return all(policy, "get", "update")
	case "policyViewer":
		return all(policy, "get")
	default:
		return nil
	}
}

func registryRole(name string) []string {
	const service = "artifactregistry."
	read := slices.Concat(
		all(service+"repositories", "get", "list"), all(service+"dockerimages", "get", "list"),
		all(service+"packages", "get", "list"), all(service+"versions", "get", "list"),
		all(service+"tags", "get", "list"),
	)

	switch name {
	case "reader":
		return read
	case "writer":
		return append(read, all(service+"tags", "create", "update")...)
	case "repoAdmin":
		return append(read, all(service+"tags", "create", "update", "delete")...)
	case "admin":
		return slices.Concat(read, all(service+"tags", "create", "update", "delete"),
			all(service+"repositories", "getIamPolicy", "setIamPolicy"))
	default:
		return nil
	}
}
