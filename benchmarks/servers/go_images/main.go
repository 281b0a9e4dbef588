// The exercise's three calls on net/http, and nothing else.
//
//	go_images durable|memory PORT DIRECTORY
//
// With "durable" every 201 is on the disk: the requests that wait share a transaction
// of bbolt, and its sync.
package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"log"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

type digest [sha256.Size]byte

// A store keeps images.
type store interface {
	// register returns the status of the response.
	register(image digest, size, chunkSize uint64) (int, error)
	// addChunk returns the status of the response; the last chunk completes the image.
	addChunk(image digest, id uint64, data []byte) (int, error)
	// content returns a complete image, or nil.
	content(image digest) ([]byte, error)
}

// A record says what is known of an image.
type record struct {
	size, chunkSize, received uint64
}

// length returns the size of a chunk, which is 0 if there is no such chunk.
func (r record) length(id uint64) uint64 {
	begin := id * r.chunkSize
	if begin >= r.size {
		return 0
	}
	if r.size-begin < r.chunkSize {
		return r.size - begin
	}
	return r.chunkSize
}

func (r record) complete() bool {
	return r.received == r.size
}

type registration struct {
	SHA256    string `json:"sha256"`
	Size      uint64 `json:"size"`
	ChunkSize uint64 `json:"chunk_size"`
}

type chunk struct {
	ID   uint64 `json:"id"`
	Size uint64 `json:"size"`
	Data string `json:"data"`
}

type server struct {
	store store
}

func (s server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimPrefix(r.URL.Path, "/image")
	switch {
	case path == r.URL.Path:
		w.WriteHeader(http.StatusNotFound)
	case r.Method == http.MethodPost && path == "":
		s.register(w, r)
	case r.Method == http.MethodPost && strings.HasSuffix(path, "/chunks"):
		s.addChunk(w, r, strings.TrimSuffix(path, "/chunks"))
	case r.Method == http.MethodGet:
		s.download(w, path)
	default:
		w.WriteHeader(http.StatusMethodNotAllowed)
	}
}

func (s server) register(w http.ResponseWriter, r *http.Request) {
	var body registration
	if json.NewDecoder(r.Body).Decode(&body) != nil || body.Size == 0 || body.ChunkSize == 0 {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	image, ok := parseDigest(body.SHA256)
	if !ok {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	status, err := s.store.register(image, body.Size, body.ChunkSize)
	answer(w, status, err)
}

func (s server) addChunk(w http.ResponseWriter, r *http.Request, path string) {
	var body chunk
	if json.NewDecoder(r.Body).Decode(&body) != nil || body.Size != uint64(len(body.Data)) {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	image, ok := parseDigest(strings.TrimPrefix(path, "/"))
	if !ok {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	status, err := s.store.addChunk(image, body.ID, []byte(body.Data))
	answer(w, status, err)
}

func (s server) download(w http.ResponseWriter, path string) {
	image, ok := parseDigest(strings.TrimPrefix(path, "/"))
	if !ok {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	content, err := s.store.content(image)
	if err != nil || content == nil {
		answer(w, http.StatusNotFound, err)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Content-Length", strconv.Itoa(len(content)))
	w.Write(content)
}

func answer(w http.ResponseWriter, status int, err error) {
	if err != nil {
		log.Print(err)
		status = http.StatusInternalServerError
	}
	w.WriteHeader(status)
}

func parseDigest(text string) (image digest, ok bool) {
	if len(text) != hex.EncodedLen(len(image)) {
		return image, false
	}
	_, err := hex.Decode(image[:], []byte(text))
	return image, err == nil
}

func main() {
	if len(os.Args) != 4 {
		log.Fatal("usage: go_images durable|memory PORT DIRECTORY")
	}
	var images store = newMemory()
	if os.Args[1] == "durable" {
		opened, err := openDurable(filepath.Join(os.Args[3], "images.db"))
		if err != nil {
			log.Fatal(err)
		}
		images = opened
	}
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Args[2], server{images}))
}
