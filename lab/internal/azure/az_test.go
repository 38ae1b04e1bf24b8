package azure

import (
	"context"
	"strings"
	"testing"
)

func TestAz(t *testing.T) {
	e := newEngine(t)
	az := func(args string) (string, error) { return e.p.Az(context.Background(), strings.Fields(args)) }
	for _, refused := range []struct{ args, want string }{
		{"network nsg rule delete --resource-group g", "az network nsg rule delete: the following arguments are required: --nsg-name"},
		{"group delete --name g", "the lab does not know az group delete; it knows: group create, network nsg rule create, network nsg rule delete, resource list, vm delete, vm run-command show"},
		{"vm delete --resource-group g --name m --no-wait", "the lab does not know az vm delete with --no-wait"},
		{"network nsg rule create --resource-group g --nsg-name n --name r --priority 300", "Status=404"},
	} {
		if _, err := az(refused.args); err == nil || !strings.Contains(err.Error(), refused.want) {
			t.Errorf("az %s: got %v, want %s", refused.args, err, refused.want)
		}
	}
	ctx := t.Context()
	for _, made := range []struct {
		token  string
		inputs object
	}{
		{resourceGroup.token, object{"resourceGroupName": "g", "location": "westeurope"}},
		{networkSecurityGroup.token, object{"resourceGroupName": "g", "networkSecurityGroupName": "n", "location": "westeurope"}},
	} {
		if _, err := e.p.Put(ctx, made.token, made.inputs); err != nil {
			t.Fatal(err)
		}
	}
	id, err := az("network nsg rule create --resource-group g --nsg-name n --name r --priority 300 --destination-port-ranges 3389 --protocol Tcp")
	if err != nil {
		t.Fatal(err)
	}
	if list, err := az("resource list"); err != nil || !strings.Contains(list, id) {
		t.Errorf("resource list: %v\n%s", err, list)
	}
	if _, err := az("network nsg rule delete --resource-group g --nsg-name n --name r"); err != nil {
		t.Error(err)
	}
	if list, err := az("resource list"); err != nil || strings.Contains(list, id) {
		t.Errorf("resource list: %v\n%s", err, list)
	}
}
