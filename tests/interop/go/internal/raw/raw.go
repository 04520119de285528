// Package raw carries messages as bytes: who calls and who answers need no schema.
package raw

// Method is the one that the servers of the tests answer.
const (
	Service = "test.Who"
	Method  = "Are"
	Path    = "/" + Service + "/" + Method
)

// Codec passes *[]byte through.
type Codec struct{}

func (Codec) Marshal(v any) ([]byte, error) { return *v.(*[]byte), nil }
func (Codec) Unmarshal(from []byte, v any) error {
	*v.(*[]byte) = append([]byte(nil), from...)
	return nil
}
func (Codec) Name() string { return "raw" }
