# Cloud Armor. A throttle that admits a request ends the evaluation, so rules that
# deny come before it.

resource "google_compute_security_policy" "api" {
  project     = var.project
  name        = "gate-api"
  description = "API: builds share one address, so that none is banned"

  advanced_options_config {
    json_parsing = "STANDARD"
    log_level    = "VERBOSE"
  }

  # Policies and service definitions are YAML that resembles an attack; the gate parses them strictly.
  rule {
    priority    = 1000
    action      = "deny(403)"
    description = "SQL injection"
    match {
      expr {
        expression = "!request.path.matches('^/v1/(simulate|posture)$') && evaluatePreconfiguredWaf('sqli-v33-stable', {'sensitivity': 1})"
      }
    }
  }

  rule {
    priority    = 1001
    action      = "deny(403)"
    description = "Cross-site scripting"
    match {
      expr {
        expression = "!request.path.matches('^/v1/(simulate|posture)$') && evaluatePreconfiguredWaf('xss-v33-stable', {'sensitivity': 1})"
      }
    }
  }

  rule {
    priority    = 2000
    action      = "throttle"
    description = "Too many requests from one address: 429, which clients wait out"
    match {
      versioned_expr = "SRC_IPS_V1"
      config {
        src_ip_ranges = ["*"]
      }
    }
    rate_limit_options {
      conform_action = "allow"
      exceed_action  = "deny(429)"
      # The gate itself limits each caller, once it has verified who calls. The Authorization header is no key here: Cloud
      # Armor reads its first 128 bytes, which are the same in all ID tokens, and whoever varies it is never limited.
      enforce_on_key = "IP"
      rate_limit_threshold {
        count        = var.requests_per_minute
        interval_sec = 60
      }
    }
  }

  rule {
    priority    = 2147483647
    action      = "allow"
    description = "Cloud Run and the gate decide who may call"
    match {
      versioned_expr = "SRC_IPS_V1"
      config {
        src_ip_ranges = ["*"]
      }
    }
  }
}

resource "google_compute_security_policy" "pages" {
  project     = var.project
  name        = "gate-pages"
  description = "Pages: people, each at an address of their own"

  rule {
    priority    = 1000
    action      = "deny(403)"
    description = "SQL injection"
    match {
      expr {
        expression = "evaluatePreconfiguredWaf('sqli-v33-stable', {'sensitivity': 1})"
      }
    }
  }

  rule {
    priority    = 1001
    action      = "deny(403)"
    description = "Cross-site scripting"
    match {
      expr {
        expression = "evaluatePreconfiguredWaf('xss-v33-stable', {'sensitivity': 1})"
      }
    }
  }

  rule {
    priority    = 2000
    action      = "rate_based_ban"
    description = "100 requests a minute, then ten minutes out"
    match {
      versioned_expr = "SRC_IPS_V1"
      config {
        src_ip_ranges = ["*"]
      }
    }
    rate_limit_options {
      conform_action   = "allow"
      exceed_action    = "deny(429)"
      enforce_on_key   = "IP"
      ban_duration_sec = 600
      rate_limit_threshold {
        count        = 100
        interval_sec = 60
      }
    }
  }

  rule {
    priority    = 2147483647
    action      = "allow"
    description = "IAP decides who may read"
    match {
      versioned_expr = "SRC_IPS_V1"
      config {
        src_ip_ranges = ["*"]
      }
    }
  }
}
