package artifact

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"unicode/utf16"

	"github.com/smallstep/pkcs7"

	"fairlead.dev/shared/apperr"
)

// What Authenticode says of a PowerShell script: [MS-OSHARED] and the
// "Windows Authenticode Portable Executable Signature Format" name the
// structures; the subject is told by PowerShell's GUID.
type (
	spcIndirectData struct {
		Data          spcAttribute
		MessageDigest spcDigest
	}
	spcAttribute struct {
		Type  asn1.ObjectIdentifier
		Value spcSipInfo
	}
	spcSipInfo struct {
		Version        int
		Subject        []byte
		R1, R2, R3, R4 int
		R5             int
	}
	spcDigest struct {
		Algorithm pkix.AlgorithmIdentifier
		Digest    []byte
	}
)

const (
	signatureBegin = "# SIG # Begin signature block\r\n"
	signatureEnd   = "# SIG # End signature block\r\n"
	sipVersion     = 65536
)

// SignPowerShell returns the script with an Authenticode signature by the
// certificate at its end, in the form that PowerShell and osslsigncode take. The
// script must be ASCII with the line ends of Windows. The certificate's chain,
// leaf first, goes into the signature.
func SignPowerShell(script []byte, signer *tls.Certificate) ([]byte, error) {
	if bytes.Contains(script, []byte(signatureBegin)) {
		return nil, apperr.New(apperr.Invalid, "the script is signed already")
	}
	var (
		microsoft    = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 2, 1}
		oidIndirect  = append(microsoft[:9:9], 4)
		oidStatement = append(microsoft[:9:9], 11)
		oidOpus      = append(microsoft[:9:9], 12)
		oidOneself   = append(microsoft[:9:9], 21)
		oidSipInfo   = append(microsoft[:9:9], 30)
		powerShell   = []byte{0x1f, 0xcc, 0x3b, 0x60, 0x59, 0x4b, 0x08, 0x4e, 0xb7, 0x24, 0xd2, 0xc6, 0x29, 0x7e, 0xf3, 0x51}
	)
	content, err := asn1.Marshal(spcIndirectData{
		Data: spcAttribute{Type: oidSipInfo, Value: spcSipInfo{Version: sipVersion, Subject: powerShell}},
		MessageDigest: spcDigest{
			Algorithm: pkix.AlgorithmIdentifier{Algorithm: pkcs7.OIDDigestAlgorithmSHA256, Parameters: asn1.NullRawValue},
			Digest:    utf16Digest(script),
		},
	})
	if err != nil {
		return nil, fmt.Errorf("describe the script for its signature: %w", err)
	}
	var inner asn1.RawValue
	if _, err := asn1.Unmarshal(content, &inner); err != nil {
		return nil, fmt.Errorf("describe the script for its signature: %w", err)
	}
	// What is signed is the structure without its own head.
	signed, err := pkcs7.NewSignedData(inner.Bytes)
	if err != nil {
		return nil, fmt.Errorf("sign the script: %w", err)
	}
	signed.SetDigestAlgorithm(pkcs7.OIDDigestAlgorithmSHA256)
	info := &signed.GetSignedData().ContentInfo
	info.ContentType = oidIndirect
	chain := make([]*x509.Certificate, len(signer.Certificate))
	for i, raw := range signer.Certificate {
		if chain[i], err = x509.ParseCertificate(raw); err != nil {
			return nil, fmt.Errorf("read the certificate that signs scripts: %w", err)
		}
	}
	if err := signed.AddSignerChain(chain[0], signer.PrivateKey, chain[1:], pkcs7.SignerInfoConfig{ExtraSignedAttributes: []pkcs7.Attribute{
		{Type: oidOpus, Value: struct{}{}},
		{Type: oidStatement, Value: []asn1.ObjectIdentifier{oidOneself}},
	}}); err != nil {
		return nil, fmt.Errorf("sign the script: %w", err)
	}
	info.Content = asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, IsCompound: true, Bytes: content}
	signature, err := signed.Finish()
	if err != nil {
		return nil, fmt.Errorf("sign the script: %w", err)
	}
	return appendSignature(script, signature), nil
}

// utf16Digest is what PowerShell's signatures cover, whatever a file's own
// encoding is.
func utf16Digest(script []byte) []byte {
	units := utf16.Encode([]rune(string(script)))
	text := make([]byte, 0, 2*len(units))
	for _, unit := range units {
		text = binary.LittleEndian.AppendUint16(text, unit)
	}
	sum := sha256.Sum256(text)
	return sum[:]
}

func appendSignature(script, signature []byte) []byte {
	const columns = 64
	out := append(bytes.Clone(script), "\r\n"+signatureBegin...)
	for text := base64.StdEncoding.EncodeToString(signature); text != ""; {
		n := min(columns, len(text))
		out = append(out, "# "+text[:n]+"\r\n"...)
		text = text[n:]
	}
	return append(out, signatureEnd...)
}
