// Command refused sends PUTs that the server refuses before it has read their
// bodies, and counts the answers that arrive.
//
// It prints one JSON object: the number of answers by status, and the errors.
package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"time"
)

type report struct {
	Answers map[string]int `json:"answers"`
	Errors  []string       `json:"errors"`
}

func main() {
	url := flag.String("url", "", "where to send the requests")
	count := flag.Int("count", 100, "number of requests")
	parallel := flag.Int("parallel", 4, "requests sent at the same time")
	size := flag.Int("size", 8<<20, "bytes of each body")
	kind := flag.String("type", "text/plain", "the Content-Type")
	token := flag.String("token", "", "the bearer token, if any")
	authority := flag.String("authority", "", "file of the certificate to trust, for https")
	chunked := flag.Bool("chunked", false, "send the bodies in chunks, without a length")
	flag.Parse()

	body := bytes.Repeat([]byte("x"), *size)
	client := &http.Client{Timeout: 2 * time.Minute}
	if *authority != "" {
		certificate, err := os.ReadFile(*authority)
		if err != nil {
			panic(err)
		}
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(certificate)
		client.Transport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}
	}
	result := report{Answers: map[string]int{}, Errors: []string{}}
	var lock sync.Mutex
	var group sync.WaitGroup
	turns := make(chan struct{}, *count)
	for i := 0; i < *count; i++ {
		turns <- struct{}{}
	}
	close(turns)
	for i := 0; i < *parallel; i++ {
		group.Add(1)
		go func() {
			defer group.Done()
			for range turns {
				status, err := put(client, *url, body, *kind, *token, *chunked)
				lock.Lock()
				if err != nil {
					result.Errors = append(result.Errors, err.Error())
				} else {
					result.Answers[fmt.Sprint(status)]++
				}
				lock.Unlock()
			}
		}()
	}
	group.Wait()
	if err := json.NewEncoder(os.Stdout).Encode(result); err != nil {
		os.Exit(1)
	}
}

// put returns the status of an answer whose body has arrived as well.
func put(client *http.Client, url string, body []byte, kind, token string, chunked bool) (int, error) {
	var reader io.Reader = bytes.NewReader(body)
	if chunked {
		// A reader of unknown length.
		reader = io.MultiReader(reader)
	}
	request, err := http.NewRequest(http.MethodPut, url, reader)
	if err != nil {
		return 0, err
	}
	request.Header.Set("Content-Type", kind)
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	answer, err := client.Do(request)
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	_, err = io.Copy(io.Discard, answer.Body)
	return answer.StatusCode, err
}
