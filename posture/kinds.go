package posture

import (
	"fmt"
	"slices"
	"strings"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/plain"
)

// InputComplete is the rule of findings about what was given and could not be judged: a workload of a kind that no
// rule reads, a template that was not rendered, a plan that is not whole. No profile can turn it off.
const InputComplete = "INPUT_COMPLETE"

// An unjudgedPart is a part of the input that no rule judges.
type unjudgedPart struct {
	file, name, kind string
	line             int
	unread           bool // it may hold what a rule is about; false: known to be outside Cloud Run
	message, fix     string
}

// finding is an error for what could not be read: a pass on the rest would be taken for a pass on all. What is known
// to be outside Cloud Run is named, and changes no verdict.
func (a unjudgedPart) finding() attestor.PostureFinding {
	f := attestor.PostureFinding{Rule: InputComplete, Service: plain.Text(a.name), Kind: a.kind, File: a.file,
		Line: a.line, Status: attestor.StatusSkipped, Message: a.message, Fix: a.fix}
	if a.unread {
		f.Status = attestor.StatusError
	}

	return f
}

// err is the same for a file that holds nothing else.
func (a unjudgedPart) err() error {
	return fmt.Errorf("%s: line %d: %s", plain.Text(a.file), a.line, a.message)
}

// workloadTypes are Terraform's resources that the rules judge as workloads.
func workloadTypes() map[string]string {
	return map[string]string{
		"google_cloud_run_service":        kindService,
		"google_cloud_run_v2_service":     kindService,
		"google_cloud_run_v2_job":         kindJob,
		"google_cloud_run_v2_worker_pool": kindPool,
		"google_cloud_run_v2_instance":    kindInstance,
		"google_cloudfunctions2_function": kindFunction,
	}
}

// outsideTypes are Terraform's resources that run code outside Cloud Run. Other tools judge them; a plan with one is
// not judged as a whole, and the report says so.
func outsideTypes() []string {
	return []string{
		"google_cloudfunctions_function", "google_app_engine_standard_app_version",
		"google_app_engine_flexible_app_version",
		"google_container_cluster", "google_container_node_pool", "google_container_aws_cluster",
		"google_container_azure_cluster",
		"google_container_attached_cluster", "google_edgecontainer_cluster",
		"google_compute_instance", "google_compute_instance_from_template",
		"google_compute_instance_from_machine_image",
		"google_compute_instance_template", "google_compute_region_instance_template",
		"google_compute_instance_group_manager",
		"google_compute_region_instance_group_manager", "google_tpu_vm", "google_tpu_v2_vm", "google_tpu_node",
		"google_composer_environment", "google_dataflow_job", "google_dataflow_flex_template_job",
		"google_dataproc_cluster",
		"google_dataproc_job", "google_dataproc_batch", "google_notebooks_instance", "google_notebooks_runtime",
		"google_workbench_instance", "google_workstations_workstation_config", "google_vertex_ai_custom_job",
		"google_vertex_ai_endpoint_with_model_garden_deployment", "google_vertex_ai_reasoning_engine",
		"helm_release", "kubernetes_manifest", "kubectl_manifest",
	}
}

// isOutside reports whether a type of resource is known to run code outside Cloud Run.
func isOutside(kind string) bool {
	if slices.Contains(outsideTypes(), kind) {
		return true
	}

	// The provider for Kubernetes has each resource with and without its version.
	name, ok := strings.CutPrefix(kind, "kubernetes_")
	name, _, _ = strings.Cut(name, "_v")

	return ok && slices.Contains([]string{"deployment", "stateful_set", "daemonset", "daemon_set",
		"replication_controller",
		"job", "cron_job", "pod"}, name)
}

// runsContainers reports whether a type of resource that no rule reads runs containers: a resource of Cloud Run or
// of functions but those that point at services, or any that lists containers. Passing over one would leave a workload
// unjudged.
func runsContainers(kind string, after *node) bool {
	switch {
	case strings.Contains(kind, "_iam_"), kind == "google_cloud_run_domain_mapping":
		return false
	case strings.HasPrefix(kind, "google_cloud_run_"), strings.HasPrefix(kind, "google_cloudfunctions"):
		return true
	}

	return strings.HasPrefix(kind, "google_") && listsContainers(after, 0)
}

// listsContainers reports whether a value has a list of containers, each with an image, at any depth. Depth and size
// are bounded by [parse].
func listsContainers(n *node, depth int) bool {
	if n == nil || depth > 6 {
		return false
	}

	for _, item := range n.items {
		if listsContainers(item, depth+1) {
			return true
		}
	}

	for name, field := range n.fields {
		if (name == "containers" || name == "container" || name == "container_spec") && holdsImage(field) ||
			listsContainers(field, depth+1) {
			return true
		}
	}

	return false
}

// holdsImage reports whether a container, or one of a list, names an image.
func holdsImage(n *node) bool {
	if n != nil && n.kind == nodeList {
		return slices.ContainsFunc(n.items, holdsImage)
	}
	return n.has("image", "image_uri", "imageUri")
}

// outsideDocument reports whether a document's kind belongs to Kubernetes itself: it runs on a cluster.
func outsideDocument(apiVersion string) bool {
	group, _, grouped := strings.Cut(apiVersion, "/")
	if !grouped {
		return apiVersion == "v1"
	}

	return slices.Contains([]string{"apps", "batch", "autoscaling", "policy", "extensions"}, group) ||
		strings.HasSuffix(group, ".k8s.io")
}

// otherDocument is a document of a kind that is not judged.
func otherDocument(file, apiVersion, kind string, n *node) unjudgedPart {
	a := unjudgedPart{file: file, line: n.line, kind: cleanKind(kind), unread: true,
		name: n.at("metadata", "name").written(), fix: "judge it with the tool for its platform, or remove it " +
			"from the input"}
	if a.name == "" {
		a.name = "(unnamed)"
	}

	switch {
	case outsideDocument(apiVersion):
		a.unread = false
		a.message = "unknown kind " + quote(kind) + " of " + quote(apiVersion) + " runs on a Kubernetes cluster, " +
			"outside Cloud Run"
	case listsContainers(n, 0):
		a.message = "unknown kind " + quote(kind) + " of " + quote(apiVersion) + " runs containers that no rule judges"
		a.fix = "judge what it makes, as `gcloud run services describe NAME --format export` prints it"
	default:
		a.message = "unknown kind " + quote(kind) + " of " + quote(apiVersion) + "; Service of " +
			"serving.knative.dev/v1, or " +
			"Job, WorkerPool, Instance or DomainMapping of Cloud Run is required"
	}

	return a
}

// cleanKind is a document's kind as a finding shows it.
func cleanKind(kind string) string {
	if kind = clip(kind); kind == "" {
		return "document"
	}
	return kind
}
