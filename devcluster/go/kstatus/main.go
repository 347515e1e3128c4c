// What kstatus, by which Flux, `helm --wait` and others judge, says of objects: JSON objects on standard input,
// one line of JSON on standard output for each.
package main

import (
	"encoding/json"
	"errors"
	"io"
	"log"
	"os"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func main() {
	log.SetFlags(0)
	in, out := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	for {
		var text json.RawMessage
		if err := in.Decode(&text); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			log.Fatal(err)
		}
		object := &unstructured.Unstructured{}
		if err := object.UnmarshalJSON(text); err != nil { // whole numbers are no floats
			log.Fatal(err)
		}
		found, err := status.Compute(object)
		if err != nil {
			log.Fatal(err)
		}
		if err := out.Encode(map[string]string{"status": string(found.Status), "message": found.Message}); err != nil {
			log.Fatal(err)
		}
	}
}
