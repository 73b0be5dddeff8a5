package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// askAsDocumented is `documented NAME`: it sends the AdmissionReview of docs/api.md for the sample image app/NAME, with the
// digest in the variable of that name, to $ADMISSION. Only addresses and the image differ from the document.
func askAsDocumented(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: documented NAME")
	}
	text, err := os.ReadFile(documentedReview)
	ts.Check(err)
	example := regexp.MustCompile(`(?s)curl -s (http://\S+) -H '(\S+): (\S+)' -d '(.*?)'\n`).FindSubmatch(text)
	if example == nil {
		ts.Fatalf("%s has no example with curl", documentedReview)
	}

	replace := strings.NewReplacer("127.0.0.1:8443", ts.Getenv("ADMISSION"), "127.0.0.1:5000", ts.Getenv("REGISTRY"),
		"app/IMAGE", "app/"+args[0], "DIGEST", ts.Getenv(strings.ToUpper(args[0])))
	req, err := http.NewRequest(http.MethodPost, replace.Replace(string(example[1])), strings.NewReader(replace.Replace(string(example[4]))))
	ts.Check(err)
	req.Header.Set(string(example[2]), string(example[3]))
	resp, err := http.DefaultClient.Do(req)
	ts.Check(err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	ts.Check(err)
	fmt.Fprintf(ts.Stdout(), "HTTP %d\n%s\n", resp.StatusCode, body)
}

const documentedReview = "../../docs/api.md"
