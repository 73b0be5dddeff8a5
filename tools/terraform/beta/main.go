// Beta is a Terraform provider with the one resource that deploy/ takes from Google's beta provider, which is not
// published as a Go module: google_project_service_identity. Tests of deploy/ use it where there is no network. It
// calls no API; it answers with the names that Google documents for the agents
// (https://cloud.google.com/iam/docs/service-agents), and refuses services that it has no name for.
package main

import (
	"context"
	"log"

	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/provider"
	providerschema "github.com/hashicorp/terraform-plugin-framework/provider/schema"
	"github.com/hashicorp/terraform-plugin-framework/providerserver"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/types"
)

func main() {
	serve := func() provider.Provider { return beta{} }
	err := providerserver.Serve(context.Background(), serve, providerserver.ServeOpts{
		Address: "registry.terraform.io/hashicorp/google-beta",
	})
	if err != nil {
		log.Fatal(err)
	}
}

// number stands for the number of every project.
const number = "123456789012"

// agentOf is the domain of a service's agent.
func agentOf(service string) (domain string, known bool) {
	domain, known = map[string]string{
		"run.googleapis.com":                 "serverless-robot-prod",
		"iap.googleapis.com":                 "gcp-sa-iap",
		"pubsub.googleapis.com":              "gcp-sa-pubsub",
		"binaryauthorization.googleapis.com": "gcp-sa-binaryauthorization",
	}[service]
	return domain, known
}

type beta struct{}

func (beta) Metadata(_ context.Context, _ provider.MetadataRequest, resp *provider.MetadataResponse) {
	resp.TypeName = "google"
}

func (beta) Schema(_ context.Context, _ provider.SchemaRequest, resp *provider.SchemaResponse) {
	resp.Schema = providerschema.Schema{Attributes: map[string]providerschema.Attribute{
		"project": providerschema.StringAttribute{Optional: true},
		"region":  providerschema.StringAttribute{Optional: true},
	}}
}

func (beta) Configure(context.Context, provider.ConfigureRequest, *provider.ConfigureResponse) {}

func (beta) DataSources(context.Context) []func() datasource.DataSource { return nil }

func (beta) Resources(context.Context) []func() resource.Resource {
	return []func() resource.Resource{func() resource.Resource { return identity{} }}
}

// identity is google_project_service_identity.
type identity struct{}

type identityModel struct {
	ID      types.String `tfsdk:"id"`
	Project types.String `tfsdk:"project"`
	Service types.String `tfsdk:"service"`
	Email   types.String `tfsdk:"email"`
	Member  types.String `tfsdk:"member"`
}

func (identity) Metadata(_ context.Context, _ resource.MetadataRequest, resp *resource.MetadataResponse) {
	resp.TypeName = "google_project_service_identity"
}

func (identity) Schema(_ context.Context, _ resource.SchemaRequest, resp *resource.SchemaResponse) {
	replace := []planmodifier.String{stringplanmodifier.RequiresReplace()}
	resp.Schema = schema.Schema{Attributes: map[string]schema.Attribute{
		"id":      schema.StringAttribute{Computed: true},
		"project": schema.StringAttribute{Optional: true, PlanModifiers: replace},
		"service": schema.StringAttribute{Required: true, PlanModifiers: replace},
		"email":   schema.StringAttribute{Computed: true},
		"member":  schema.StringAttribute{Computed: true},
	}}
}

func (identity) Create(ctx context.Context, req resource.CreateRequest, resp *resource.CreateResponse) {
	var m identityModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() {
		return
	}

	domain, known := agentOf(m.Service.ValueString())
	if !known {
		resp.Diagnostics.AddError("unknown service", m.Service.ValueString()+" has no agent that this provider knows")
		return
	}

	email := "service-" + number + "@" + domain + ".iam.gserviceaccount.com"
	m.ID = types.StringValue("projects/" + m.Project.ValueString() + "/services/" + m.Service.ValueString())
	m.Email, m.Member = types.StringValue(email), types.StringValue("serviceAccount:"+email)
	resp.Diagnostics.Append(resp.State.Set(ctx, m)...)
}

// Read, Update and Delete have nothing to do: an agent cannot be changed or deleted.
func (identity) Read(context.Context, resource.ReadRequest, *resource.ReadResponse) {}

func (identity) Update(context.Context, resource.UpdateRequest, *resource.UpdateResponse) {}

func (identity) Delete(context.Context, resource.DeleteRequest, *resource.DeleteResponse) {}
