"""The node on a camera: `ros2 launch focus_depth_ros focus.launch.py image:=/camera/image_raw ...`.

It configures and activates itself (parameter `autostart`), so no lifecycle manager is needed;
`ros2 lifecycle` works on it all the same.
"""

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.utilities import prefix_namespace

from focus_depth_ros.node.transport import large_message_profile

PARAMETER_FILE = Path(get_package_share_directory('focus_depth_ros')) / 'config/focus.yaml'

# the node's topics, to be connected to what the robot has
TOPICS = {
    'image': 'camera image; with image_transport:=compressed the name without /compressed',
    'camera_info': "calibration of that camera at the image's size",
    'detections': 'vision_msgs/Detection2DArray of a detector on that image',
    'text_target': 'std_msgs/String: text that names the target',
    'reference_depth': 'aligned depth image of a sensor, holes allowed, that sets the metric scale',
}
# the node's outputs that config/focus.rviz shows
DISPLAYED = ('target/points', 'target/markers', 'overlay/image', 'depth/image', 'boundary/image')
# the parameters changed most; left empty, the parameter file's value stands
PARAMETERS = {
    'model': 'model folder',
    'text': "a text target to begin with: text:='the red mug'",
    'backend': 'what runs the network: auto, tensorrt, onnxruntime, onnxruntime_cuda, '
    'onnxruntime_tensorrt, torch',
    'image_transport': 'raw or compressed',
}
SWITCHES = {
    'fovea': 'true: a second, closer look at each target, for twice the network time and more',
    'mirror': 'true: look in the mirror too, for twice the network time',
    'image_is_rectified': 'true: images are rectified, by image_proc for instance',
}


def generate_launch_description() -> LaunchDescription:
    topics = [
        DeclareLaunchArgument(name, default_value=name, description=text)
        for name, text in TOPICS.items()
    ]
    parameters = [
        DeclareLaunchArgument(name, default_value='', description=text)
        for name, text in PARAMETERS.items()
    ]
    switches = [
        DeclareLaunchArgument(
            name, default_value='', choices=['', 'true', 'false'], description=text
        )
        for name, text in SWITCHES.items()
    ]
    return LaunchDescription(
        [
            *topics,
            *parameters,
            *switches,
            DeclareLaunchArgument(
                'params_file', default_value=str(PARAMETER_FILE), description='parameter file'
            ),
            DeclareLaunchArgument('namespace', default_value='', description='one for each camera'),
            DeclareLaunchArgument(
                'use_sim_time',
                default_value='false',
                choices=['true', 'false', 'True', 'False'],
                description='true: time is that of /clock',
            ),
            DeclareLaunchArgument(
                'large_messages',
                default_value='true',
                choices=['true', 'false'],
                description='name a Fast DDS profile with room for images, unless one is named',
            ),
            DeclareLaunchArgument(
                'rviz', default_value='false', choices=['true', 'false'], description='start RViz'
            ),
            DeclareLaunchArgument(
                'rviz_frame',
                default_value='camera_color_optical_frame',
                description="RViz' fixed frame: the frame_id of the images",
            ),
            OpaqueFunction(function=start_node),
            OpaqueFunction(function=start_rviz),
        ]
    )


def start_node(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """Describe the node and its environment, once the arguments have their values."""
    value = context.launch_configurations
    parameter_file = Path(value['params_file']).expanduser()
    if not parameter_file.is_file():  # launch_ros would only warn and start with the defaults
        raise FileNotFoundError(f'params_file: there is no file {parameter_file}')
    environment = large_message_profile() if value['large_messages'] == 'true' else {}
    chosen: dict[str, ParameterValue | bool] = {
        name: ParameterValue(value[name], value_type=str) for name in PARAMETERS if value[name]
    }
    chosen |= {name: value[name] == 'true' for name in SWITCHES if value[name]}
    if value['use_sim_time'].lower() == 'true':  # else the parameter file's value stands
        chosen['use_sim_time'] = True
    return [
        *(SetEnvironmentVariable(name, profile) for name, profile in environment.items()),
        Node(
            package='focus_depth_ros',
            executable='focus_depth',
            name='focus_depth',
            namespace=value['namespace'],
            parameters=[str(parameter_file), chosen],
            remappings=[(name, value[name]) for name in TOPICS],
            output='screen',
        ),
    ]


def start_rviz(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """Describe RViz, if it is wanted; its displays follow the node into its namespace."""
    value = context.launch_configurations
    if value['rviz'] != 'true':
        return []
    namespace = prefix_namespace(value.get('ros_namespace'), value['namespace']) or ''
    namespace = namespace.strip('/')
    moved = [(f'/focus_depth/{t}', f'/{namespace}/focus_depth/{t}') for t in DISPLAYED]
    return [
        Node(
            package='rviz2',
            executable='rviz2',
            arguments=[
                '-d',
                str(PARAMETER_FILE.with_name('focus.rviz')),
                '-f',
                value['rviz_frame'],
            ],
            remappings=moved if namespace else [],
            parameters=[{'use_sim_time': value['use_sim_time'].lower() == 'true'}],
        )
    ]
