package history

import (
	"encoding/json"
	"fmt"
	"slices"

	"go.etcd.io/bbolt"

	"ztbridge/bridge/api"
)

// devicesBucket holds one entry for each device: its totals, as JSON.
var devicesBucket = []byte("devices")

// deviceTotals are the totals of all devices: as they are, and as the disk has them. Neither list
// is ever changed. A nil list is not known.
type deviceTotals struct{ now, written []api.DeviceTraffic }

func deviceKey(d api.DeviceTraffic) string {
	return fmt.Sprintf("%s/%s/%s", d.Kind, d.Network, d.ID)
}

// changed reports whether there is something to write.
func (d deviceTotals) changed() bool { return d.now != nil && !slices.Equal(d.now, d.written) }

// write writes the entries that changed, and removes those that are no more.
func (d deviceTotals) write(tx *bbolt.Tx) error {
	if !d.changed() {
		return nil
	}
	if tx.Bucket(devicesBucket) == nil {
		d.written = nil // a damaged file began again
	}
	bucket, err := tx.CreateBucketIfNotExists(devicesBucket)
	if err != nil {
		return err
	}
	gone := map[string]bool{}
	c := bucket.Cursor()
	for k, _ := c.First(); k != nil; k, _ = c.Next() {
		gone[string(k)] = true
	}
	for _, one := range d.now {
		delete(gone, deviceKey(one))
		if slices.Contains(d.written, one) {
			continue
		}
		data, err := json.Marshal(one)
		if err != nil {
			return err
		}
		if err := bucket.Put([]byte(deviceKey(one)), data); err != nil {
			return err
		}
	}
	for k := range gone {
		if err := bucket.Delete([]byte(k)); err != nil {
			return err
		}
	}
	return nil
}

// Devices returns the totals of all devices as they were written last; none if there are none.
func (s *Store) Devices() ([]api.DeviceTraffic, error) {
	var out []api.DeviceTraffic
	err := s.view(func(tx *bbolt.Tx) error {
		bucket := tx.Bucket(devicesBucket)
		if bucket == nil {
			return nil
		}
		return bucket.ForEach(func(k, v []byte) error {
			var d api.DeviceTraffic
			// One that cannot be read costs the totals of one device.
			if json.Unmarshal(v, &d) == nil && deviceKey(d) == string(k) {
				out = append(out, d)
			}
			return nil
		})
	})
	return out, err
}
