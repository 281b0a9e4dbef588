package main

import (
	"crypto/sha256"
	"net/http"
	"sync"
)

// A memory keeps images until the process ends.
type memory struct {
	lock   sync.RWMutex
	images map[digest]*pending
}

type pending struct {
	record
	content []byte
	present map[uint64]bool
}

func newMemory() *memory {
	return &memory{images: make(map[digest]*pending)}
}

func (m *memory) register(image digest, size, chunkSize uint64) (int, error) {
	m.lock.Lock()
	defer m.lock.Unlock()
	if m.images[image] != nil {
		return http.StatusConflict, nil
	}
	m.images[image] = &pending{
		record:  record{size: size, chunkSize: chunkSize},
		content: make([]byte, size),
		present: make(map[uint64]bool),
	}
	return http.StatusCreated, nil
}

func (m *memory) addChunk(image digest, id uint64, data []byte) (int, error) {
	m.lock.Lock()
	defer m.lock.Unlock()
	found := m.images[image]
	switch {
	case found == nil:
		return http.StatusNotFound, nil
	case found.complete() || found.present[id]:
		return http.StatusConflict, nil
	case len(data) == 0 || uint64(len(data)) != found.length(id):
		return http.StatusBadRequest, nil
	}
	copy(found.content[id*found.chunkSize:], data)
	found.present[id] = true
	found.received += uint64(len(data))
	if found.complete() {
		found.present = nil
		if sha256.Sum256(found.content) != image {
			delete(m.images, image)
			return http.StatusUnprocessableEntity, nil
		}
	}
	return http.StatusCreated, nil
}

func (m *memory) content(image digest) ([]byte, error) {
	m.lock.RLock()
	defer m.lock.RUnlock()
	if found := m.images[image]; found != nil && found.complete() {
		return found.content, nil
	}
	return nil, nil
}
