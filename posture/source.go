package posture

import (
	"errors"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Reads reports whether a file of a folder is looked at, by its name: YAML, JSON and Dockerfiles, and Terraform's
// source, which is refused, since a verdict on the files beside it would be taken for one on all.
func Reads(name string) bool {
	return slices.Contains([]string{".yaml", ".yml", ".json", ".tfstate"}, strings.ToLower(filepath.Ext(name))) ||
		isTerraformName(name) || isDockerfile(name) || isDockerignore(name)
}

// errTerraformSource is the answer for Terraform's source: what it makes depends on variables, modules and the
// provider.
var errTerraformSource = errors.New("is Terraform's source, which does not say what it makes: make a plan and pass it" +
	": `terraform plan -out=p && terraform show -json p > plan.json`")

func isTerraformName(name string) bool {
	ends := []string{".tf", ".tf.json", ".tofu", ".tofu.json", ".tfvars", ".tfvars.json"}
	return slices.ContainsFunc(ends, func(end string) bool { return strings.HasSuffix(strings.ToLower(name), end) })
}

// terraformBlock is the first line of a block of Terraform's source.
var terraformBlock = regexp.MustCompile(`(?m)^(?:(?:resource|data)\s+"[^"\n]+"\s+"[^"\n]+"|` +
	`(?:module|variable|provider|output)\s+"[^"\n]+"|terraform|locals)\s*\{`)

// isTerraformDocument reports whether a document is Terraform's source in JSON: it has nothing but the names of blocks.
func isTerraformDocument(n *node) bool {
	blocks := []string{"resource", "data", "module", "variable", "provider", "output", "terraform", "locals"}
	if len(fieldsOf(n)) == 0 {
		return false
	}

	return !slices.ContainsFunc(sortedFields(n), func(name string) bool {
		return name != "//" && (!slices.Contains(blocks, name) || n.at(name).kind == nodeText)
	})
}
