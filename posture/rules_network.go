package posture

import (
	"cmp"
	"slices"
	"strings"
)

// regionApproved asks for a region of the profile's list. The hipaa profile
// keeps to regions of the United States.
func regionApproved(c *judging) answer {
	r := c.s.region
	if len(c.s.regions) > 0 {
		return regionsApproved(c)
	}

	switch {
	case r.unknown:
		return afterApply("the region")
	case r.text == "":
		return missingEvidence("the definition does not name its region",
			"pass --region, or set the label cloud.googleapis.com/location")
	case slices.Contains(c.profile.regions, r.text):
		return satisfied("region %s is approved", clip(r.text))
	}

	// A function is moved by the tool that deploys it.
	move := c.s.gcloud() + " describe " + shell(c.s.name, "NAME") + " --region=" + shell(r.text, "REGION") +
		" --format=export, replace it in " + c.profile.regions[0] + ", delete it here"
	if c.s.kind == kindFunction {
		move = ""
	}

	return violated("one of "+strings.Join(c.profile.regions, ", "), remedy{
		command: move,
		fields: []edit{field("projects/PROJECT/locations/"+c.profile.regions[0]+"/"+c.s.kind+"s/"+
			cmp.Or(clip(c.s.name), "NAME"),
			"name").toFill()},
		terraform: "location = \"" + c.profile.regions[0] + "\"",
	}, fault{found: "region " + clip(r.text)})
}

// regionsApproved judges a service in several regions, each of which runs it and
// handles its data. "global" is then the name's location, and no further region.
func regionsApproved(c *judging) answer {
	all := slices.Clone(c.s.regions)
	if c.s.region.text != "global" && c.s.region.set {
		all = append(all, c.s.region)
	}

	var faults []fault
	unknown := false
	for _, r := range all {
		unknown = unknown || r.unknown
		if !r.unknown && !slices.Contains(c.profile.regions, r.text) {
			faults = append(faults, fault{subject: r.text, found: "region " + clip(r.text)})
		}
	}

	switch {
	case len(faults) > 0:
		return violated("only "+strings.Join(c.profile.regions, ", "), remedy{
			command: "gcloud run multi-region-services update " + shell(c.s.name, "NAME") +
				" --remove-regions=" + shell(faults[0].subject, "REGION"),
			fields:    []edit{field([]any{c.profile.regions[0]}, "multiRegionSettings", "regions").toFill()},
			terraform: "# remove the region from multi_region_settings { regions }"}, faults...)
	case unknown:
		return afterApply("a region")
	}

	return satisfied("each region is approved: %d", len(all))
}

// ingressRestricted asks for an ingress setting that keeps the Internet out.
// "all" is the default, and so an absent setting is a violation.
func ingressRestricted(c *judging) answer {
	in := c.s.ingress
	// The allowed values are listed: a value that Google adds later is a violation
	// until somebody has read what it lets in.
	switch {
	case in.unknown:
		return afterApply("the ingress")
	case restricted(c.s):
		return satisfied("ingress is %s", in.text)
	}

	found := "ingress is " + clip(in.text)
	if !in.set {
		found = "ingress is not set, and defaults to all"
	}

	return violated("internal or internal-and-cloud-load-balancing", remedy{
		flag:     "--ingress=internal-and-cloud-load-balancing",
		knative:  []edit{annotation(runPrefix+"ingress", "internal-and-cloud-load-balancing")},
		fields:   []edit{field("INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER", "ingress")},
		function: `service_config {` + "\n" + `  ingress_settings = "ALLOW_INTERNAL_AND_GCLB"` + "\n}",
	}, fault{found: found})
}

// restricted reports whether ingress keeps the Internet from reaching the service
// directly. INGRESS_TRAFFIC_NONE lets nothing in.
func restricted(s *workload) bool {
	switch s.ingress.text {
	case "internal", "internal-and-cloud-load-balancing", "none":
		return true
	}
	return false
}

// defaultURLDisabled asks that the run.app address is off where a load balancer
// fronts the service. Requests to that address reach the service without Cloud
// Armor and Identity-Aware Proxy, which guard the load balancer.
func defaultURLDisabled(c *judging) answer {
	s := c.s
	fronted := s.ingress.text == "internal-and-cloud-load-balancing" || c.model.fronted(s)

	// A domain mapping leads to the service like its run.app address does; with a restricted ingress neither answers
	// the Internet.
	domain, mapped := c.model.mapped(s)
	switch {
	case fronted && mapped && !restricted(s):
		return violated(
			"no domain mapping, since it bypasses Cloud Armor and Identity-Aware Proxy at the load balancer", remedy{
				command:   "gcloud beta run domain-mappings delete --domain=DOMAIN" + s.inRegion(),
				terraform: "# remove google_cloud_run_domain_mapping, and point the domain at the load balancer",
			}, fault{subject: domain, found: "a load balancer fronts the service, and the domain mapping " +
				quote(domain) + " leads past it"})
	case s.urlDisabled.text == "true":
		return satisfied("the run.app address is off")
	case s.urlDisabled.unknown:
		return afterApply("whether the run.app address is off")
	case s.ingress.unknown:
		return afterApply("the ingress")
	case !fronted && (s.ingress.text == "internal" || s.ingress.text == "none"):
		// No load balancer for the Internet can reach the service with this ingress,
		// so that there is no guard that the address would bypass.
		return satisfied("ingress is %s: the run.app address answers no request from the Internet", s.ingress.text)
	case !fronted:
		return missingEvidence("the run.app address is on, and the definition does not show whether a load "+
			"balancer fronts it",
			"pass the Terraform plan with its serverless network endpoint group, or turn the address off with "+
				"--no-default-url")
	}

	return violated("the address off, since it bypasses Cloud Armor and Identity-Aware Proxy at the load balancer",
		remedy{
			flag: "--no-default-url", knative: []edit{annotation(runPrefix+"default-url-disabled", "true")},
			fields: []edit{field(true, "defaultUriDisabled")},
		}, fault{found: "a load balancer fronts the service, and the run.app address is on"})
}

// vpcEgress asks for a connector or Direct VPC egress, so that requests to
// private addresses stay within the network and its firewall rules.
func vpcEgress(c *judging) answer {
	s := c.s
	switch {
	case s.connector.text == "" && !s.network.set && (s.connector.unknown || s.network.unknown):
		return afterApply("the VPC connector")
	case s.connector.text == "" && !s.network.set:
		return violated("a connector or Direct VPC egress", vpcRemedy(c.s.narrowEgress()),
			fault{found: "no VPC egress is set"})
	case s.egress.unknown:
		return afterApply("the VPC egress")
	case !s.egress.set:
		// "private-ranges-only" is the documented default of both ways out.
		return satisfied("VPC egress by %s, private-ranges-only by default", vpcWay(s))
	case s.egress.text == "private-ranges-only", s.egress.text == "all-traffic":
		return satisfied("VPC egress by %s, %s", vpcWay(s), s.egress.text)
	}

	return violated("private-ranges-only or all-traffic", vpcRemedy(c.s.narrowEgress()),
		fault{found: "VPC egress is " + quote(s.egress.text)})
}

func vpcWay(s *workload) string {
	if s.connector.text != "" {
		return "connector"
	}
	return "Direct VPC egress"
}

// narrowEgress is the egress of a workload, where it is one that keeps the rules: a remedy for the network leaves it as
// it is. Otherwise it is the narrowest.
func (s *workload) narrowEgress() string {
	if s.egress.text == "all-traffic" || s.egress.text == "private-ranges-only" {
		return s.egress.text
	}
	return "private-ranges-only"
}

func vpcRemedy(egress string) remedy {
	enum := strings.ToUpper(strings.ReplaceAll(egress, "-", "_"))
	return remedy{
		flag: "--network=NETWORK --subnet=SUBNET --vpc-egress=" + egress,
		knative: []edit{
			revisionAnnotation(runPrefix+"network-interfaces",
				`[{"network":"NETWORK","subnetwork":"SUBNET"}]`).toFill(),
			revisionAnnotation(runPrefix+"vpc-access-egress", egress),
		},
		fields: []edit{
			field([]any{map[string]any{"network": "NETWORK", "subnetwork": "SUBNET"}}, "template", "vpcAccess",
				"networkInterfaces").toFill(),
			field(enum, "template", "vpcAccess", "egress"),
		},
		function: block("service_config", block("direct_vpc_network_interface", `network    = "NETWORK"`,
			`subnetwork = "SUBNET"`),
			`direct_vpc_egress = "VPC_EGRESS_`+enum+`"`),
	}
}

// staticEgressIP asks that all traffic leaves through the VPC, without which no outbound address is fixed, and that
// each Cloud NAT of the input that may serve the workload has reserved addresses.
func staticEgressIP(c *judging) answer {
	s := c.s
	switch {
	case s.egress.unknown || s.connector.unknown || s.network.unknown:
		return afterApply("the VPC egress")
	case s.egress.text == "all-traffic" && (s.connector.text != "" || s.network.set):
		return fixedAddress(c)
	}

	return violated("all-traffic, behind Cloud NAT with a reserved address", vpcRemedy("all-traffic"),
		fault{found: "not all traffic leaves through the VPC"})
}

// fixedAddress judges the Cloud NAT of a workload all of whose traffic leaves through the VPC.
func fixedAddress(c *judging) answer {
	gateways := c.model.natOf(c.s)

	var faults []fault
	unknown := false
	for _, nat := range gateways {
		unknown = unknown || nat.unknown

		// "AUTO_ONLY: Nat IPs are allocated by GCP": the address changes with the number of machines.
		if !nat.fixed && !nat.unknown {
			faults = append(faults, fault{subject: nat.address, found: clip(nat.address) + " has addresses that " +
				"Google allocates"})
		}
	}

	switch {
	case len(faults) > 0:
		return violated("reserved addresses for Cloud NAT",
			remedy{command: "gcloud compute routers nats update NAT --router=ROUTER" +
				" --region=REGION --nat-external-ip-pool=ADDRESS",
				terraform: "nat_ip_allocate_option = \"MANUAL_ONLY\"\nnat_ips = [google_compute_address.NAME.id]"},
			faults...)
	case unknown:
		return afterApply("how Cloud NAT gets its addresses")
	case len(gateways) > 0:
		return satisfied("all traffic leaves through the VPC, and Cloud NAT has reserved addresses")
	}

	// Without Cloud NAT no traffic leaves the VPC at all, so that the service never shows another address.
	return satisfied("all traffic leaves through the VPC; its Cloud NAT must have reserved addresses")
}
