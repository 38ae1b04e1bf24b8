package main

import (
	"github.com/pulumi/pulumi-azure-native-sdk/insights/v2"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"openclaw-azure/internal/config"
)

// watch has Azure itself write to an address when the machine is not available: what the machine cannot say.
func watch(ctx *pulumi.Context, cfg *config.Config, n *netResources, vm *virtualMachine) error {
	if cfg.AzureEmail == "" {
		return nil
	}
	imported, err := n.adoptNamed(ctx, "watchers", "Microsoft.Insights/actionGroups", func(group, name string) (found, error) {
		there, err := insights.LookupActionGroup(ctx, &insights.LookupActionGroupArgs{ResourceGroupName: group, ActionGroupName: name})
		if err != nil {
			return found{}, err
		}
		return found{tags: there.Tags}, nil // it is made at once
	})
	if err != nil {
		return err
	}
	watchers, err := insights.NewActionGroup(ctx, "watchers", &insights.ActionGroupArgs{
		ResourceGroupName: n.groupName,
		ActionGroupName:   pulumi.String(n.named("watchers")),
		Location:          pulumi.String("Global"),
		GroupShortName:    pulumi.String("openclaw"), // 12 characters at most
		Enabled:           pulumi.Bool(true),
		EmailReceivers: insights.EmailReceiverArray{insights.EmailReceiverArgs{
			Name: pulumi.String("owner"), EmailAddress: pulumi.String(cfg.AzureEmail), UseCommonAlertSchema: pulumi.Bool(true)}},
		Tags: n.tags,
	}, n.within(nil, imported))
	if err != nil {
		return err
	}
	imported, err = n.adoptNamed(ctx, "availability", "Microsoft.Insights/metricAlerts", func(group, name string) (found, error) {
		there, err := insights.LookupMetricAlert(ctx, &insights.LookupMetricAlertArgs{ResourceGroupName: group, RuleName: name})
		if err != nil {
			return found{}, err
		}
		return found{tags: there.Tags}, nil
	})
	if err != nil {
		return err
	}
	_, err = insights.NewMetricAlert(ctx, "availability", &insights.MetricAlertArgs{
		ResourceGroupName:   n.groupName,
		RuleName:            pulumi.String(n.named("availability")),
		Location:            pulumi.String("global"),
		Description:         pulumi.String("The machine of OpenClaw is not available: docs/alerts.md, azure"),
		Enabled:             pulumi.Bool(true),
		Severity:            pulumi.Int(1),
		Scopes:              pulumi.StringArray{vm.ID().ToStringOutput()},
		EvaluationFrequency: pulumi.String("PT1M"),
		WindowSize:          pulumi.String("PT5M"),
		AutoMitigate:        pulumi.Bool(true),
		// The metric is 1 while the machine is available, and 0 while it is not.
		Criteria: insights.MetricAlertSingleResourceMultipleMetricCriteriaArgs{
			OdataType: pulumi.String("Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria"),
			AllOf: insights.MetricCriteriaArray{insights.MetricCriteriaArgs{
				CriterionType:   pulumi.String("StaticThresholdCriterion"),
				Name:            pulumi.String("available"),
				MetricNamespace: pulumi.String("Microsoft.Compute/virtualMachines"),
				MetricName:      pulumi.String("VmAvailabilityMetric"),
				TimeAggregation: pulumi.String("Average"),
				Operator:        pulumi.String("LessThan"),
				Threshold:       pulumi.Float64(1),
			}},
		},
		Actions: insights.MetricAlertActionArray{insights.MetricAlertActionArgs{ActionGroupId: watchers.ID().ToStringOutput()}},
		Tags:    n.tags,
	}, n.within(nil, imported))
	return err
}
