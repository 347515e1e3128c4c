// The two processes that make Argo CD sync: the rest of its binary (API server with its pages, command line,
// ApplicationSets, notifications) is left out, as it takes most of the time to build.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	controller "github.com/argoproj/argo-cd/v3/cmd/argocd-application-controller/commands"
	reposerver "github.com/argoproj/argo-cd/v3/cmd/argocd-repo-server/commands"
	"github.com/argoproj/argo-cd/v3/util/askpass"
)

func main() {
	command := controller.NewCommand()
	switch name := filepath.Base(os.Args[0]); name {
	case "argocd-application-controller":
	case "argocd-repo-server":
		askpass.SocketPath = filepath.Join(os.TempDir(), "ask-pass.sock") // else one place for all of a machine
		command = reposerver.NewCommand()
	default:
		fmt.Fprintf(os.Stderr, "%s: no such program here\n", name)
		os.Exit(2)
	}
	if command.Execute() != nil {
		os.Exit(1)
	}
}
