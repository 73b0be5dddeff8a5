mock_provider "google" {}

variables {
  project = "acme-gate"
  region  = "us-east1"
}

run "direct" {
  command = apply

  assert {
    condition     = !google_compute_network.gate.auto_create_subnetworks && google_compute_subnetwork.gate.private_ip_google_access
    error_message = "Google's APIs are reached by the Internet, or there are subnets that nobody asked for."
  }
  assert {
    condition     = google_compute_router_nat.gate.nat_ip_allocate_option == "MANUAL_ONLY" && length(google_compute_router_nat.gate.nat_ips) == 1
    error_message = "The address that everything leaves by is not fixed."
  }
  assert {
    condition     = toset(google_dns_record_set.run.rrdatas) == toset(["199.36.153.8", "199.36.153.9", "199.36.153.10", "199.36.153.11"])
    error_message = "run.app is not reached by Private Google Access."
  }
  assert {
    condition     = output.connector == null
    error_message = "There is a connector that nobody asked for."
  }
}

run "connector" {
  command = apply
  variables {
    connector    = { cidr = "10.8.0.0/28", min = 2, max = 4, machine_type = "e2-standard-4" }
    subnet_users = ["serviceAccount:service-1@serverless-robot-prod.iam.gserviceaccount.com"]
  }

  assert {
    condition     = google_vpc_access_connector.gate[0].min_instances == 2 && google_vpc_access_connector.gate[0].max_instances == 4 && google_vpc_access_connector.gate[0].machine_type == "e2-standard-4"
    error_message = "The connector is not sized as asked."
  }
  assert {
    condition     = google_compute_subnetwork.connector[0].private_ip_google_access && google_vpc_access_connector.gate[0].subnet[0].project_id == "acme-gate"
    error_message = "The connector's subnet has no Private Google Access, or is in another project."
  }
  assert {
    condition     = [for m in google_compute_subnetwork_iam_member.user : m.role] == ["roles/compute.networkUser"]
    error_message = "The Shared VPC's users may do something else."
  }
}

run "private_service_connect" {
  command = apply
  variables { private_service_connect = "10.10.255.1" }

  assert {
    condition     = google_compute_global_forwarding_rule.googleapis[0].target == "all-apis" && google_compute_global_address.googleapis[0].purpose == "PRIVATE_SERVICE_CONNECT" && google_dns_record_set.run.rrdatas == tolist(["10.10.255.1"])
    error_message = "run.app is not reached through the endpoint."
  }
}

run "regions" {
  command = apply
  variables { other_regions = { us-east4 = "10.20.0.0/24" } }

  assert {
    condition     = google_compute_subnetwork.other["us-east4"].private_ip_google_access && google_compute_router_nat.other["us-east4"].nat_ip_allocate_option == "MANUAL_ONLY" && toset(keys(output.subnetworks)) == toset(["us-east1", "us-east4"])
    error_message = "The other region reaches Google by the Internet, or leaves by any address."
  }
}
