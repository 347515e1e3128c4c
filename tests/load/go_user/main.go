// A user by Go's net/http, which keeps its connections in a pool: asks for a stream and a whole answer in turn until
// SIGTERM. Prints "served" after the first answer, and its tally as JSON at the end.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

const timeout = 120 * time.Second

type tally struct {
	Ok   int      `json:"ok"`
	Lost []string `json:"lost"`
}

func main() {
	stop, _ := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	told := tally{Lost: []string{}}
	for number := 0; stop.Err() == nil; number++ {
		if err := ask(os.Args[1], os.Args[2], number%2 == 0); err != nil {
			told.Lost = append(told.Lost, err.Error())
			time.Sleep(200 * time.Millisecond)
		} else if told.Ok++; told.Ok == 1 {
			fmt.Println("served")
		}
	}
	_ = json.NewEncoder(os.Stdout).Encode(map[string]tally{"go": told})
}

func ask(url, model string, stream bool) error {
	body, err := json.Marshal(map[string]any{
		"model": model, "max_tokens": 60, "temperature": 0, "stream": stream,
		"messages": []map[string]string{{"role": "user", "content": "Count from 1 to 40."}},
	})
	if err != nil {
		return err
	}
	client := http.Client{Timeout: timeout} // they share http.DefaultTransport, and so its pool
	answer, err := client.Post(url+"/v1/chat/completions", "application/json", bytes.NewReader(body))
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return err
	}
	whole := !stream || bytes.HasSuffix(bytes.TrimSpace(text), []byte("data: [DONE]"))
	if answer.StatusCode != http.StatusOK || !whole || bytes.Contains(text, []byte(`"error"`)) {
		return fmt.Errorf("HTTP %d: %.200q", answer.StatusCode, text)
	}
	return nil
}
