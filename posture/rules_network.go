package posture

import (
	"cmp"
	"slices"
	"strings"
)

func regionApproved(c *judging) answer {
	r := c.s.region
	switch {
	case r.unknown:
		return afterApply("the region")
	case r.text == "":
		return lacking("the definition does not name its region", "give --region, or the label cloud.googleapis.com/location")
	case slices.Contains(c.profile.regions, r.text):
		return good("region %s is approved", clip(r.text))
	}

	return bad("one of "+strings.Join(c.profile.regions, ", "), mend{
		command: "gcloud run " + c.s.kind + "s describe " + shell(c.s.name, "NAME") + " --region=" +
			shell(r.text, "REGION") + " --format=export, replace it in " + c.profile.regions[0] + ", delete it here",
		v2: "name: projects/PROJECT/locations/" + c.profile.regions[0] + "/" + c.s.kind + "s/" +
			cmp.Or(clip(c.s.name), "NAME"),
		terraform: "location = \"" + c.profile.regions[0] + "\"",
	}, fault{found: "region " + clip(r.text)})
}

func ingressRestricted(c *judging) answer {
	in := c.s.ingress
	switch {
	case in.unknown:
		return afterApply("the ingress")
	case in.text == "internal", in.text == "internal-and-cloud-load-balancing":
		return good("ingress is %s", in.text)
	}

	found := "ingress is " + clip(in.text)
	if !in.set {
		found = "ingress is not set, which is all"
	}

	return bad("internal or internal-and-cloud-load-balancing", mend{
		flag:      "--ingress=internal-and-cloud-load-balancing",
		yaml:      "metadata.annotations: {run.googleapis.com/ingress: internal-and-cloud-load-balancing}",
		v2:        `"ingress": "INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER"`,
		terraform: `ingress = "INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER"`,
	}, fault{found: found})
}

func restricted(s *service) bool {
	return s.ingress.text == "internal" || s.ingress.text == "internal-and-cloud-load-balancing"
}

func defaultURLDisabled(c *judging) answer {
	s := c.s
	fronted := s.ingress.text == "internal-and-cloud-load-balancing" || c.set.frontedByPlan(s)
	switch {
	case s.urlDisabled.text == "true":
		return good("the run.app address is off")
	case s.urlDisabled.unknown:
		return afterApply("whether the run.app address is off")
	case s.ingress.unknown:
		return afterApply("the ingress")
	case !fronted && s.ingress.text == "internal":
		return good("ingress is internal, so that the run.app address answers only from within")
	case !fronted:
		return lacking("whether a load balancer fronts the service is not known, and the run.app address is on",
			"give the Terraform plan with its serverless network endpoint group, or turn the address off with --no-default-url")
	}

	return bad("it off, since Cloud Armor and Identity-Aware Proxy at the load balancer can be gone round by it", mend{
		flag: "--no-default-url", yaml: `metadata.annotations: {run.googleapis.com/default-url-disabled: "true"}`,
		v2: `"defaultUriDisabled": true`, terraform: "default_uri_disabled = true",
	}, fault{found: "a load balancer fronts the service, and the run.app address is on"})
}

func vpcEgress(c *judging) answer {
	s := c.s
	switch {
	case s.connector.text == "" && !s.network.set && (s.connector.unknown || s.network.unknown):
		return afterApply("the VPC connector")
	case s.connector.text == "" && !s.network.set:
		return bad("a connector or Direct VPC egress", vpcMend("private-ranges-only"), fault{found: "no VPC egress is set"})
	case s.egress.unknown:
		return afterApply("the VPC egress")
	case !s.egress.set:
		return good("VPC egress by %s, private-ranges-only by default", vpcWay(s))
	case s.egress.text == "private-ranges-only", s.egress.text == "all-traffic":
		return good("VPC egress by %s, %s", vpcWay(s), s.egress.text)
	}

	return bad("private-ranges-only or all-traffic", vpcMend("private-ranges-only"),
		fault{found: "VPC egress is " + quote(s.egress.text)})
}

func vpcWay(s *service) string {
	if s.connector.text != "" {
		return "connector"
	}
	return "Direct VPC egress"
}

func vpcMend(egress string) mend {
	enum := strings.ToUpper(strings.ReplaceAll(egress, "-", "_"))
	return mend{
		flag: "--network=NETWORK --subnet=SUBNET --vpc-egress=" + egress,
		yaml: `spec.template.metadata.annotations: {run.googleapis.com/network-interfaces: ` +
			`'[{"network":"NETWORK","subnetwork":"SUBNET"}]', run.googleapis.com/vpc-access-egress: ` + egress + `}`,
		v2: `"template": {"vpcAccess": {"networkInterfaces": [{"network": "NETWORK", "subnetwork": "SUBNET"}], ` +
			`"egress": "` + enum + `"}}`,
		terraform: `vpc_access { network_interfaces { network = NETWORK, subnetwork = SUBNET } egress = "` + enum + `" }`,
	}
}

func staticEgressIP(c *judging) answer {
	s := c.s
	switch {
	case s.egress.unknown || s.connector.unknown || s.network.unknown:
		return afterApply("the VPC egress")
	case s.egress.text == "all-traffic" && (s.connector.text != "" || s.network.set):
		// Without NAT nothing leaves at all, so that no other address is ever seen.
		return good("all traffic leaves through the VPC: its Cloud NAT must have reserved addresses")
	}

	return bad("all-traffic, behind Cloud NAT with a reserved address", vpcMend("all-traffic"),
		fault{found: "not all traffic leaves through the VPC"})
}
