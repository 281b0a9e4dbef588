package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"net/http"
	"time"

	"go.etcd.io/bbolt"
)

// A durable keeps images in a file of bbolt.
//
// The bucket "images" has a record for each hash, and "chunks" the chunks, each by the
// hash and its number, so that those of an image follow one another.
type durable struct {
	db *bbolt.DB
}

var (
	imagesBucket = []byte("images")
	chunksBucket = []byte("chunks")
)

func openDurable(path string) (*durable, error) {
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		return nil, err
	}
	db.MaxBatchDelay = time.Millisecond
	err = db.Update(func(tx *bbolt.Tx) error {
		if _, err := tx.CreateBucketIfNotExists(imagesBucket); err != nil {
			return err
		}
		_, err := tx.CreateBucketIfNotExists(chunksBucket)
		return err
	})
	return &durable{db}, err
}

func (d *durable) register(image digest, size, chunkSize uint64) (status int, err error) {
	// The function may be called again if another one of its batch fails.
	err = d.db.Batch(func(tx *bbolt.Tx) error {
		images := tx.Bucket(imagesBucket)
		if images.Get(image[:]) != nil {
			status = http.StatusConflict
			return nil
		}
		status = http.StatusCreated
		return images.Put(image[:], encode(record{size: size, chunkSize: chunkSize}))
	})
	return status, err
}

func (d *durable) addChunk(image digest, id uint64, data []byte) (status int, err error) {
	key := chunkKey(image, id)
	err = d.db.Batch(func(tx *bbolt.Tx) error {
		images, chunks := tx.Bucket(imagesBucket), tx.Bucket(chunksBucket)
		stored := images.Get(image[:])
		if stored == nil {
			status = http.StatusNotFound
			return nil
		}
		found := decode(stored)
		if chunks.Get(key) != nil {
			status = http.StatusConflict
			return nil
		}
		if len(data) == 0 || uint64(len(data)) != found.length(id) {
			status = http.StatusBadRequest
			return nil
		}
		if err := chunks.Put(key, data); err != nil {
			return err
		}
		found.received += uint64(len(data))
		if found.complete() && sha256.Sum256(join(chunks, image, found.size)) != image {
			status = http.StatusUnprocessableEntity
			return discard(images, chunks, image)
		}
		status = http.StatusCreated
		return images.Put(image[:], encode(found))
	})
	return status, err
}

func (d *durable) content(image digest) (content []byte, err error) {
	err = d.db.View(func(tx *bbolt.Tx) error {
		stored := tx.Bucket(imagesBucket).Get(image[:])
		if stored == nil {
			return nil
		}
		if found := decode(stored); found.complete() {
			content = join(tx.Bucket(chunksBucket), image, found.size)
		}
		return nil
	})
	return content, err
}

// join returns the chunks of an image, one after the other.
func join(chunks *bbolt.Bucket, image digest, size uint64) []byte {
	content := make([]byte, 0, size)
	cursor := chunks.Cursor()
	key, data := cursor.Seek(image[:])
	for ; bytes.HasPrefix(key, image[:]); key, data = cursor.Next() {
		content = append(content, data...)
	}
	return content
}

func discard(images, chunks *bbolt.Bucket, image digest) error {
	cursor := chunks.Cursor()
	for key, _ := cursor.Seek(image[:]); bytes.HasPrefix(key, image[:]); key, _ = cursor.Seek(image[:]) {
		if err := cursor.Delete(); err != nil {
			return err
		}
	}
	return images.Delete(image[:])
}

func chunkKey(image digest, id uint64) []byte {
	return binary.BigEndian.AppendUint64(image[:], id)
}

func encode(r record) []byte {
	stored := make([]byte, 0, 24)
	stored = binary.BigEndian.AppendUint64(stored, r.size)
	stored = binary.BigEndian.AppendUint64(stored, r.chunkSize)
	return binary.BigEndian.AppendUint64(stored, r.received)
}

func decode(stored []byte) record {
	return record{
		size:      binary.BigEndian.Uint64(stored),
		chunkSize: binary.BigEndian.Uint64(stored[8:]),
		received:  binary.BigEndian.Uint64(stored[16:]),
	}
}
